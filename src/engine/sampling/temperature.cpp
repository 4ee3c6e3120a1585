#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/sampling/portable_math.h"
#include "engine/sampling/samplers.h"

namespace realm {
namespace {

// Of the softmax over the candidates, as a share of the greatest possible: 0 certain, 1 uniform.
double normalized_entropy(Candidates& candidates) {
  const size_t count = candidates.num_finite();
  if (count < 2) return 0.0;
  const SoftmaxScale softmax = candidates.softmax();
  return std::clamp(candidates.entropy(softmax) / log_double(static_cast<double>(count)), 0.0, 1.0);
}

}  // namespace

void apply_temperature(Candidates& candidates, const Step& step) {
  const SamplingParams& params = step.params;
  double temperature = params.temperature;
  if (params.dynatemp_range > 0.0f && params.temperature > 0.0f) {
    if (candidates.has_rest()) return candidates.lack();
    const double low = std::max(0.0f, params.temperature - params.dynatemp_range);
    const double high = static_cast<double>(params.temperature) + params.dynatemp_range;
    temperature =
        low + (high - low) * pow_double(normalized_entropy(candidates), params.dynatemp_exponent);
  }
  // Below this the second of two different logits has no chance that a draw could notice, and the
  // division may overflow: greedy.
  constexpr double kSmallest = 1e-6;
  const double largest = std::numeric_limits<float>::max() * temperature;
  if (temperature < kSmallest || std::abs(candidates.max_logit()) > largest) {
    candidates.keep_best(1);
  } else {
    candidates.divide(static_cast<float>(temperature));
  }
}

}  // namespace realm
