#include "models/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

namespace realm {
namespace {

// Index of the pair that turns `rotations` times over the original context (YaRN, section 3.2).
double pair_of_rotations(double rotations, double n_rot, double base, double context) {
  return n_rot * std::log(context / (rotations * 2.0 * std::numbers::pi)) / (2.0 * std::log(base));
}

}  // namespace

Result<RopeFrequencies> read_rope_frequencies(const TensorDirectory& file, const std::string& arch,
                                              int64_t n_rot, int64_t trained_context) {
  const Metadata& metadata = file.metadata();
  const std::string prefix = arch + ".rope.";
  const double base = TRY(metadata.get_float_or(prefix + "freq_base", 10000.0));
  if (!(base > 0.0)) {
    return Error{ErrorCode::kBadModel,
                 prefix + "freq_base: " + std::to_string(base) + " is not positive"};
  }
  std::string type = TRY(metadata.get_string_or(prefix + "scaling.type", ""));
  // Files of 2023 give a linear factor under an older key and no type.
  double factor = TRY(metadata.get_float_or(prefix + "scale_linear", 0.0));
  factor = TRY(metadata.get_float_or(prefix + "scaling.factor", factor));
  if (type.empty()) type = factor > 0.0 ? "linear" : "none";
  if (factor == 0.0) factor = 1.0;
  if (!(factor > 0.0)) {
    return Error{ErrorCode::kBadModel,
                 prefix + "scaling.factor: " + std::to_string(factor) + " is not positive"};
  }

  RopeFrequencies result;
  const int64_t pairs = n_rot / 2;
  result.inv_freq.resize(static_cast<size_t>(pairs));
  std::vector<double> frequency(static_cast<size_t>(pairs));
  for (int64_t i = 0; i < pairs; ++i) {
    frequency[static_cast<size_t>(i)] =
        std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(n_rot));
  }
  if (const TensorInfo* factors = file.find("rope_freqs.weight")) {
    if (factors->dtype != DType::kF32 || factors->num_elements() != pairs) {
      return Error{ErrorCode::kBadModel,
                   "tensor 'rope_freqs.weight' is not " + std::to_string(pairs) + " values of F32"};
    }
    for (int64_t i = 0; i < pairs; ++i) {
      float value;
      std::memcpy(&value, factors->data.data() + i * 4, 4);
      if (!std::isfinite(value) || value <= 0.0f) {
        return Error{ErrorCode::kBadModel,
                     "tensor 'rope_freqs.weight' holds a factor that is not positive"};
      }
      frequency[static_cast<size_t>(i)] /= value;
    }
  }

  if (type == "linear") {
    for (double& f : frequency) f /= factor;
  } else if (type == "yarn") {
    const int64_t original = TRY(metadata.get_int_or(prefix + "scaling.original_context_length",
                                                     trained_context, 1, int64_t{1} << 40));
    const double beta_fast = TRY(metadata.get_float_or(prefix + "scaling.yarn_beta_fast", 32.0));
    const double beta_slow = TRY(metadata.get_float_or(prefix + "scaling.yarn_beta_slow", 1.0));
    const double ext_factor = TRY(metadata.get_float_or(prefix + "scaling.yarn_ext_factor", 1.0));
    const double attention_factor = TRY(metadata.get_float_or(prefix + "scaling.attn_factor", 1.0));
    const double n = static_cast<double>(n_rot), context = static_cast<double>(original);
    double low = std::floor(pair_of_rotations(beta_fast, n, base, context));
    double high = std::ceil(pair_of_rotations(beta_slow, n, base, context));
    low = std::max(low, 0.0);
    high = std::min(high, n - 1.0);
    for (int64_t i = 0; i < pairs; ++i) {
      double& f = frequency[static_cast<size_t>(i)];
      const double ramp =
          std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
      const double extrapolated = (1.0 - ramp) * ext_factor;
      f = f / factor * (1.0 - extrapolated) + f * extrapolated;
    }
    result.magnitude = static_cast<float>(attention_factor * (1.0 + 0.1 * std::log(factor)));
  } else if (type != "none") {
    return Error{ErrorCode::kBadModel,
                 prefix + "scaling.type: '" + type + "' is not one of none, linear, yarn"};
  }
  for (int64_t i = 0; i < pairs; ++i) {
    result.inv_freq[static_cast<size_t>(i)] = static_cast<float>(frequency[static_cast<size_t>(i)]);
  }
  return result;
}

}  // namespace realm
