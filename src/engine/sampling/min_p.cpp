#include "engine/sampling/portable_math.h"
#include "engine/sampling/samplers.h"

namespace realm {

void apply_min_p(Candidates& candidates, const Step& step) {
  // p / p_max >= min_p in logits: no exponentials over the vocabulary.
  const double limit = candidates.max_logit() + log_double(step.params.min_p);
  candidates.keep_from(limit, static_cast<size_t>(step.params.min_keep));
}

}  // namespace realm
