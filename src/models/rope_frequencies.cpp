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

// A tensor of one factor for each pair; every factor is above 0.
Result<std::vector<double>> read_factors(const TensorInfo& tensor, int64_t pairs) {
  if (tensor.dtype != DType::kF32 || tensor.num_elements() != pairs) {
    return Error{ErrorCode::kBadModel,
                 "tensor '" + tensor.name + "' is not " + std::to_string(pairs) + " values of F32"};
  }
  std::vector<double> factors;
  for (int64_t i = 0; i < pairs; ++i) {
    float value;
    std::memcpy(&value, tensor.data.data() + i * 4, 4);
    if (!std::isfinite(value) || value <= 0.0f) {
      return Error{ErrorCode::kBadModel,
                   "tensor '" + tensor.name + "' holds a factor that is not positive"};
    }
    factors.push_back(value);
  }
  return factors;
}

// YaRN's blend of interpolated and original frequencies, and its magnitude (Peng et al. 2023).
Status apply_yarn(const Metadata& metadata, const std::string& prefix, double base, double factor,
                  int64_t n_rot, int64_t trained_context, bool truncate,
                  std::vector<double>& frequency, float& magnitude) {
  const int64_t original = TRY(metadata.get_int_or(prefix + "scaling.original_context_length",
                                                   trained_context, 1, int64_t{1} << 40));
  const double beta_fast = TRY(metadata.get_float_or(prefix + "scaling.yarn_beta_fast", 32.0));
  const double beta_slow = TRY(metadata.get_float_or(prefix + "scaling.yarn_beta_slow", 1.0));
  const double ext_factor = TRY(metadata.get_float_or(prefix + "scaling.yarn_ext_factor", 1.0));
  const double attention_factor = TRY(metadata.get_float_or(prefix + "scaling.attn_factor", 1.0));
  const double n = static_cast<double>(n_rot), context = static_cast<double>(original);
  double low = pair_of_rotations(beta_fast, n, base, context);
  double high = pair_of_rotations(beta_slow, n, base, context);
  if (truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, n - 1.0);
  for (size_t i = 0; i < frequency.size(); ++i) {
    double& f = frequency[i];
    const double ramp =
        std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
    const double extrapolated = (1.0 - ramp) * ext_factor;
    f = f / factor * (1.0 - extrapolated) + f * extrapolated;
  }
  magnitude = static_cast<float>(attention_factor * (1.0 + 0.1 * std::log(factor)));
  return {};
}

// LongRoPE's two sets of factors, where the file has them.
Status apply_long_rope(const TensorDirectory& file, const std::string& prefix, int64_t pairs,
                       int64_t trained_context, const std::vector<double>& frequency,
                       RopeFrequencies& result) {
  const TensorInfo* short_tensor = file.find("rope_factors_short.weight");
  const TensorInfo* long_tensor = file.find("rope_factors_long.weight");
  if (short_tensor == nullptr && long_tensor == nullptr) return {};
  if (short_tensor == nullptr || long_tensor == nullptr) {
    return Error{ErrorCode::kBadModel,
                 "of the tensors 'rope_factors_short.weight' and 'rope_factors_long.weight' one is "
                 "missing"};
  }
  const auto short_factors = TRY(read_factors(*short_tensor, pairs));
  const auto long_factors = TRY(read_factors(*long_tensor, pairs));
  result.long_inv_freq.resize(frequency.size());
  for (size_t i = 0; i < frequency.size(); ++i) {
    result.inv_freq[i] = static_cast<float>(frequency[i] / short_factors[i]);
    result.long_inv_freq[i] = static_cast<float>(frequency[i] / long_factors[i]);
  }
  const Metadata& metadata = file.metadata();
  result.original_context = TRY(metadata.get_int_or(prefix + "scaling.original_context_length",
                                                    trained_context, 1, int64_t{1} << 40));
  result.magnitude =
      static_cast<float>(TRY(metadata.get_float_or(prefix + "scaling.attn_factor", 1.0)));
  return {};
}

}  // namespace

Result<RopeFrequencies> read_rope_frequencies(const TensorDirectory& file, const std::string& arch,
                                              int64_t n_rot, int64_t trained_context,
                                              const RopeKeys& keys) {
  const Metadata& metadata = file.metadata();
  const std::string prefix = arch + ".rope.";
  const double base = TRY(metadata.get_float_or(prefix + keys.base, keys.default_base));
  if (!(base > 0.0)) {
    return Error{ErrorCode::kBadModel,
                 prefix + keys.base + ": " + std::to_string(base) + " is not positive"};
  }
  RopeFrequencies result;
  const int64_t pairs = n_rot / 2;
  std::vector<double> frequency;
  for (int64_t i = 0; i < pairs; ++i) {
    frequency.push_back(std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(n_rot)));
  }
  const auto finish = [&] { result.inv_freq.assign(frequency.begin(), frequency.end()); };
  if (!keys.scaled) {
    finish();
    return result;
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
  if (const TensorInfo* tensor = file.find("rope_freqs.weight")) {
    const auto factors = TRY(read_factors(*tensor, pairs));
    for (size_t i = 0; i < frequency.size(); ++i) frequency[i] /= factors[i];
  }
  if (type == "linear") {
    for (double& f : frequency) f /= factor;
  } else if (type == "yarn") {
    TRY(apply_yarn(metadata, prefix, base, factor, n_rot, trained_context, keys.truncate, frequency,
                   result.magnitude));
  } else if (type != "none" && type != "longrope") {
    return Error{ErrorCode::kBadModel, prefix + "scaling.type: '" + type +
                                           "' is not one of none, linear, yarn, longrope"};
  }
  finish();
  TRY(apply_long_rope(file, prefix, pairs, trained_context, frequency, result));
  return result;
}

Result<RopeTables> RopeTables::load(WeightLoader& loader, const RopeFrequencies& frequencies) {
  const auto import = [&](const std::vector<float>& values) {
    return loader.computed(values.data(), static_cast<int64_t>(values.size()));
  };
  RopeTables tables;
  tables.inv_freq_ = TRY(import(frequencies.inv_freq));
  if (!frequencies.long_inv_freq.empty()) {
    tables.long_inv_freq_ = TRY(import(frequencies.long_inv_freq));
  }
  tables.magnitude_ = frequencies.magnitude;
  tables.original_context_ = frequencies.original_context;
  return tables;
}

TensorView RopeTables::add_table(ProgramBuilder& builder, const StepInputs& inputs) const {
  const bool is_long = !long_inv_freq_.empty() && inputs.context > original_context_;
  const TensorView out = builder.scratch({inputs.positions.dim(0), 2 * inv_freq_.dim(0)});
  builder.add(RopeTable{.positions = inputs.positions,
                        .inv_freq = is_long ? long_inv_freq_ : inv_freq_,
                        .out = out,
                        .magnitude = magnitude_});
  return out;
}

}  // namespace realm
