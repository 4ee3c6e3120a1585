#include "formats/rope_factors.h"

#include <cmath>
#include <numbers>

namespace realm {

// In float32 step by step, as the checkpoints' own library computes it: converted files agree with
// other converters' to the last bit.
std::vector<float> llama3_frequency_factors(const Llama3Rope& rope) {
  const float low = rope.low_freq_factor;
  const float high = rope.high_freq_factor;
  std::vector<float> factors;
  for (int64_t i = 0; i < rope.head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope.head_dim);
    const float frequency =
        1.0f / static_cast<float>(std::pow(rope.theta, static_cast<double>(exponent)));
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (wavelength < rope.original_context / high) {
      factors.push_back(1.0f);
    } else if (wavelength > rope.original_context / low) {
      factors.push_back(rope.factor);
    } else {
      const float smooth = (rope.original_context / wavelength - low) / (high - low);
      factors.push_back(1.0f / ((1.0f - smooth) / rope.factor + smooth));
    }
  }
  return factors;
}

}  // namespace realm
