#include "engine/sampling/portable_math.h"
#include "engine/sampling/samplers.h"

namespace realm {

void apply_mirostat(Candidates& candidates, double mu) {
  constexpr double kLn2 = 0.69314718055994530942;
  const SoftmaxScale softmax = candidates.softmax();
  // -log2 p <= mu, as a limit on the logit.
  const double limit = softmax.max_logit + log_double(softmax.sum) - mu * kLn2;
  candidates.keep_from(limit, 1);
}

}  // namespace realm
