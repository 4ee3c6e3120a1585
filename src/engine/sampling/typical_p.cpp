#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/sampling/portable_math.h"
#include "engine/sampling/samplers.h"

namespace realm {

void apply_typical_p(Candidates& candidates, const Step& step) {
  const std::span<const float> logits = candidates.logits();
  const SoftmaxScale softmax = candidates.softmax();
  // How far the surprise -log p is from its mean, the entropy; negated, so that the shared
  // selection by greatest value serves. -log p = center - logit + entropy, so neither logarithm nor
  // exponential is taken per token. What has no weight in float is out, as the draw could never
  // take it.
  const double center = softmax.max_logit + log_double(softmax.sum) - candidates.entropy(softmax);
  const double lowest = softmax.logit_at(0.0);
  std::vector<float> typicality(logits.size());
  std::vector<Token> slots(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    slots[i] = static_cast<Token>(i);
    typicality[i] = logits[i] >= lowest ? -static_cast<float>(std::abs(center - logits[i]))
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
