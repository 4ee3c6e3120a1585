#include <algorithm>

#include "engine/sampling/samplers.h"

namespace realm {

void apply_xtc(Candidates& candidates, const Step& step) {
  if (step.draw(DrawPurpose::kXtc) >= step.params.xtc_probability) return;
  const SoftmaxScale softmax = candidates.softmax();
  const double limit = softmax.logit_at(step.params.xtc_threshold);
  const std::span<const float> logits = candidates.logits();

  // Of the tokens at or above the threshold only the last in order stays.
  size_t num_likely = 0;
  Candidate last_likely = {};
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] < limit) continue;
    const Candidate candidate = {logits[i], candidates.token(i)};
    if (num_likely++ == 0 || better(last_likely, candidate)) last_likely = candidate;
  }
  if (num_likely < 2) return;

  const double lowest = softmax.logit_at(0.0);
  std::vector<Candidate> kept;
  for (size_t i = 0; i < logits.size(); ++i) {
    const Candidate candidate = {logits[i], candidates.token(i)};
    if (logits[i] >= lowest && !better(candidate, last_likely)) kept.push_back(candidate);
  }
  // Fewer than asked for would be left: then nothing is excluded, as in the original.
  if (kept.size() < static_cast<size_t>(std::max(step.params.min_keep, 1))) return;
  candidates.assign(kept, candidates.is_sorted());
}

}  // namespace realm
