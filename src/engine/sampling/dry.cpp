#include <algorithm>
#include <limits>
#include <vector>

#include "engine/sampling/portable_math.h"
#include "engine/sampling/samplers.h"

namespace realm {
namespace {

constexpr float kLowest = std::numeric_limits<float>::lowest();

// match[d], d >= 1: how many of the window's last tokens also stand d positions earlier, i.e. the
// common suffix of the window and of the window without its last d tokens. The Z-function of the
// reversed window, in linear time (Gusfield, "Algorithms on Strings, Trees, and
// Sequences", 1.3-1.4).
std::vector<size_t> repeated_suffixes(std::span<const Token> window) {
  const size_t n = window.size();
  const auto reversed = [&](size_t i) { return window[n - 1 - i]; };
  std::vector<size_t> match(n, 0);
  size_t box_begin = 0, box_end = 0;  // the match that reaches furthest: [box_begin, box_end)
  for (size_t d = 1; d < n; ++d) {
    size_t length = 0;
    if (d < box_end) length = std::min(match[d - box_begin], box_end - d);
    while (d + length < n && reversed(length) == reversed(d + length)) ++length;
    match[d] = length;
    if (d + length > box_end) {
      box_begin = d;
      box_end = d + length;
    }
  }
  return match;
}

}  // namespace

bool dry_active(const SamplingParams& params) {
  return params.dry_multiplier > 0.0f && params.dry_penalty_last_n != 0;
}

std::unordered_map<Token, float> dry_penalties(const Step& step) {
  const SamplingParams& params = step.params;
  const std::span<const Token> window = step.history.dry_window();
  const size_t reach = step.history.since_breaker();
  const auto allowed = static_cast<size_t>(params.dry_allowed_length);
  std::unordered_map<Token, float> penalties;
  if (reach < allowed) return penalties;

  // For each token that followed an earlier occurrence: the longest sequence it would continue.
  std::unordered_map<Token, size_t> longest;
  const std::vector<size_t> match = repeated_suffixes(window);
  for (size_t d = 1; d < window.size(); ++d) {
    const size_t length = std::min(match[d], reach);
    if (length < allowed) continue;
    size_t& entry = longest[window[window.size() - d]];
    entry = std::max(entry, length);
  }
  for (const auto& [token, length] : longest) {
    if (step.history.holds_breaker(token)) continue;
    const double penalty =
        params.dry_multiplier * pow_double(params.dry_base, static_cast<double>(length - allowed));
    constexpr double kMost = std::numeric_limits<float>::max();
    penalties[token] = static_cast<float>(std::min(penalty, kMost));
  }
  return penalties;
}

void apply_dry(Candidates& candidates, const Step& step) {
  candidates.adjust(dry_penalties(step), [](float logit, float penalty) {
    if (logit < kLowest) return logit;  // dropped before
    // Never quite -infinity: a penalized token is still possible when nothing else is left.
    return std::max(logit - penalty, kLowest);
  });
}

}  // namespace realm
