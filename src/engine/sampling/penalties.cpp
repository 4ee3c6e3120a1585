#include <algorithm>
#include <limits>

#include "engine/sampling/samplers.h"

namespace realm {

bool penalties_active(const SamplingParams& params) {
  return params.repeat_last_n != 0 &&
         (params.repeat_penalty != 1.0f || params.presence_penalty != 0.0f ||
          params.frequency_penalty != 0.0f);
}

void apply_penalties(Candidates& candidates, const Step& step) {
  const SamplingParams& params = step.params;
  constexpr float kLargest = std::numeric_limits<float>::max();
  candidates.adjust(step.history.counts(), [&](float logit, int32_t count) {
    if (logit < -kLargest) return logit;  // dropped before
    // Dividing a negative logit would favour the token, so that side is multiplied.
    const float scaled =
        logit > 0.0f ? logit / params.repeat_penalty : logit * params.repeat_penalty;
    const float penalized =
        scaled - static_cast<float>(count) * params.frequency_penalty - params.presence_penalty;
    return std::clamp(penalized, -kLargest, kLargest);
  });
}

}  // namespace realm
