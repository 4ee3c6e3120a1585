#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/sampling/portable_math.h"
#include "engine/sampling/samplers.h"

namespace realm {

void apply_typical_p(Candidates& candidates, const Step& step) {
  const std::span<const float> logits = candidates.logits();
  const SoftmaxScale softmax = candidates.softmax();
  const double log_sum = log_double(softmax.sum);
  // Surprise of a token: -log p = log_sum - (logit - max). Entropy: its mean under p.
  double entropy = 0.0;
  for (const float logit : logits) {
    const double weight = exp_float(logit - softmax.max_logit);
    if (weight > 0.0) entropy += weight / softmax.sum * (log_sum - (logit - softmax.max_logit));
  }
  // How untypical, negated, so that the shared selection by greatest value serves. What has no
  // probability left in float is out, as the draw could never take it.
  std::vector<float> typicality(logits.size());
  std::vector<Token> slots(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    slots[i] = static_cast<Token>(i);
    const double surprise = log_sum - (logits[i] - softmax.max_logit);
    typicality[i] = exp_float(logits[i] - softmax.max_logit) > 0.0f
                        ? -static_cast<float>(std::abs(surprise - entropy))
                        : -std::numeric_limits<float>::infinity();
  }
  const double wanted = step.params.typical_p * softmax.sum;
  const auto min_keep = static_cast<size_t>(std::max(step.params.min_keep, 1));
  std::vector<Candidate> order, kept;
  for (size_t k = 128;; k *= 8) {
    k = std::min(k, logits.size());
    select_best(typicality, slots, k, order);
    double reached = 0.0;
    kept.clear();
    for (const Candidate& entry : order) {
      const auto slot = static_cast<size_t>(entry.token);
      kept.push_back({logits[slot], candidates.token(slot)});
      reached += exp_float(logits[slot] - softmax.max_logit);
      if (reached >= wanted && kept.size() >= min_keep) {
        k = logits.size();
        break;
      }
    }
    if (k == logits.size()) break;
  }
  std::sort(kept.begin(), kept.end(), better);
  candidates.assign(kept, true);
}

}  // namespace realm
