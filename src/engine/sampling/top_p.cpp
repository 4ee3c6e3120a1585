#include <algorithm>

#include "engine/sampling/portable_math.h"
#include "engine/sampling/samplers.h"

namespace realm {

void apply_top_p(Candidates& candidates, const Step& step) {
  const SoftmaxScale softmax = candidates.softmax();
  const double wanted = step.params.top_p * softmax.sum;
  const auto min_keep = static_cast<size_t>(std::max(step.params.min_keep, 1));
  const size_t all = candidates.size();
  // The nucleus is nearly always a few dozen tokens of a vocabulary of 10^5, so the best few are
  // taken first and more only where they do not reach the wanted probability.
  std::vector<Candidate> best;
  for (size_t k = candidates.is_sorted() ? all : 128;; k *= 8) {
    k = std::min(k, all);
    if (candidates.is_sorted()) {
      best.clear();
      for (size_t i = 0; i < all; ++i) {
        best.push_back({candidates.logits()[i], candidates.token(i)});
      }
    } else {
      const std::span<const Token> tokens = candidates.tokens();
      select_best(candidates.logits(), tokens, k, best);
    }
    double reached = 0.0;
    for (size_t i = 0; i < best.size(); ++i) {
      reached += exp_float(best[i].logit - softmax.max_logit);
      if (reached >= wanted && i + 1 >= min_keep) {
        candidates.assign(std::span(best).first(i + 1), true);
        return;
      }
    }
    if (k == all) break;
  }
  if (candidates.has_rest()) return candidates.lack();
  // Rounding kept the sum below what was wanted: everything belongs.
  candidates.assign(best, true);
}

}  // namespace realm
