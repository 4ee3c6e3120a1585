#include <array>
#include <cmath>
#include <limits>

#include "engine/sampling/samplers.h"

namespace realm {
namespace {

// Sum of f(logit) over the finite logits. Eight running sums hide the latency of the additions; the
// compiler may not regroup them, so the result is the same everywhere.
template <typename F>
double sum_finite(std::span<const float> logits, F f) {
  std::array<double, 8> sums{};
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool finite = logits[i] > -std::numeric_limits<float>::infinity();
    sums[i % 8] += finite ? f(logits[i]) : 0.0;
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace

void apply_top_n_sigma(Candidates& candidates, const Step& step) {
  const std::span<const float> logits = candidates.logits();
  const auto count = static_cast<double>(candidates.num_finite());
  const double mean = sum_finite(logits, [](float x) { return static_cast<double>(x); }) / count;
  const double variance =
      sum_finite(logits, [&](float x) { return (x - mean) * (x - mean); }) / count;
  const double limit = candidates.max_logit() - step.params.top_n_sigma * std::sqrt(variance);
  candidates.keep_from(limit, static_cast<size_t>(step.params.min_keep));
}

}  // namespace realm
