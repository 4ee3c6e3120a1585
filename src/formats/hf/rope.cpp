#include "formats/hf/rope.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cmath>
#include <optional>
#include <vector>

#include "formats/hf/family.h"
#include "formats/rope_factors.h"
#include "formats/tensor_directory.h"

namespace realm::hf {
namespace {

struct Rope {
  double theta = 10000.0;
  std::string type = "default";
  std::optional<JsonObject> scaling;  // where `type`'s own fields are
};

// Base and scaling in one object, as transformers 5 has them.
Result<Rope> read_parameters(const JsonObject& parameters) {
  Rope rope;
  rope.scaling = parameters;
  rope.theta = TRY(parameters.get_float_or("rope_theta", rope.theta));
  rope.type = TRY(parameters.get_string_or("rope_type", "default"));
  if (!(rope.theta > 0)) return parameters.bad("rope_theta", "must be above 0");
  return rope;
}

Result<Rope> read_rope(const JsonObject& config) {
  if (config.has("rope_parameters")) {
    const JsonObject parameters = TRY(config.get_object("rope_parameters"));
    return read_parameters(parameters);
  }
  Rope rope;
  if (config.has("rope_scaling")) rope.scaling = TRY(config.get_object("rope_scaling"));
  rope.theta = TRY(config.get_float_or("rope_theta", rope.theta));
  if (rope.scaling) {
    const char* key = rope.scaling->has("rope_type") ? "rope_type" : "type";
    rope.type = TRY(rope.scaling->get_string_or(key, "default"));
  }
  if (!(rope.theta > 0)) {
    return Error{ErrorCode::kBadModel, config.label() + ": rope_theta must be above 0"};
  }
  return rope;
}

// Phi-3's first files called it "su".
bool is_long_rope(const Rope& rope) {
  return rope.type == "longrope" || rope.type == "su";
}

Result<double> positive(const JsonObject& object, const char* key) {
  const double value = TRY(object.get_float(key));
  if (!(value > 0)) return object.bad(key, "must be above 0");
  return value;
}

Status set_yarn(const JsonObject& config, const JsonObject& scaling, const std::string& prefix,
                int64_t context_length, Metadata& metadata, const RopeOptions& options) {
  const double factor = TRY(positive(scaling, "factor"));
  if (!options.may_not_truncate && !TRY(scaling.get_bool_or("truncate", true))) {
    return Error{ErrorCode::kUnsupported, scaling.label() + ": yarn with truncate=false"};
  }
  const int64_t original = TRY(
      config.get_int_or("original_max_position_embeddings", context_length, 1, int64_t{1} << 31));
  metadata.set_string(prefix + "type", "yarn");
  metadata.set_float32(prefix + "factor", static_cast<float>(factor));
  metadata.set_uint32(prefix + "original_context_length",
                      static_cast<uint32_t>(TRY(scaling.get_int_or(
                          "original_max_position_embeddings", original, 1, int64_t{1} << 31))));
  for (const auto& [hf, gguf] :
       {std::pair("beta_fast", "yarn_beta_fast"), std::pair("beta_slow", "yarn_beta_slow")}) {
    if (scaling.has(hf)) {
      metadata.set_float32(prefix + gguf, static_cast<float>(TRY(scaling.get_float(hf))));
    }
  }
  if (options.log_multiplier) {
    metadata.set_float32(prefix + "yarn_log_multiplier",
                         static_cast<float>(0.1 * TRY(scaling.get_float_or("mscale_all_dim", 0))));
    return {};
  }
  // transformers scales the rotation by attention_factor, or by mscale's formula, or by
  // 0.1 ln(factor) + 1; GGUF's attn_factor multiplies the last of these.
  const auto default_scale = [&](double mscale) {
    return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
  };
  std::optional<double> wanted;
  if (scaling.has("attention_factor")) {
    wanted = TRY(positive(scaling, "attention_factor"));
  } else {
    const double mscale = TRY(scaling.get_float_or("mscale", 0));
    const double mscale_all_dim = TRY(scaling.get_float_or("mscale_all_dim", 0));
    if (mscale != 0 && mscale_all_dim != 0) {
      wanted = default_scale(mscale) / default_scale(mscale_all_dim);
    }
  }
  if (wanted) {
    metadata.set_float32(prefix + "attn_factor", static_cast<float>(*wanted / default_scale(1.0)));
  }
  return {};
}

}  // namespace

namespace {

Status set_one_rope(const JsonObject& config, const Rope& rope, const std::string& architecture,
                    int64_t context_length, Metadata& metadata, const RopeOptions& options) {
  metadata.set_float32(architecture + ".rope.freq_base", static_cast<float>(rope.theta));
  const std::string prefix = architecture + ".rope.scaling.";
  // "dynamic" changes nothing up to max_position_embeddings, which is the context's limit here.
  if (rope.type == "default" || rope.type == "none" || rope.type == "dynamic") return {};
  if (rope.type == "llama3") return {};  // as a tensor: rope_frequency_factors
  if (rope.type == "linear") {
    metadata.set_string(prefix + "type", "linear");
    metadata.set_float32(prefix + "factor",
                         static_cast<float>(TRY(positive(*rope.scaling, "factor"))));
    return {};
  }
  if (rope.type == "yarn") {
    return set_yarn(config, *rope.scaling, prefix, context_length, metadata, options);
  }
  return Error{ErrorCode::kUnsupported, config.label() + ": rope type " + quoted_name(rope.type) +
                                            " is not supported; default, linear, dynamic, yarn "
                                            "and llama3 are"};
}

}  // namespace

Status set_rope(const JsonObject& config, const std::string& architecture, int64_t context_length,
                Metadata& metadata, const RopeOptions& options) {
  return set_one_rope(config, TRY(read_rope(config)), architecture, context_length, metadata,
                      options);
}

Status set_rope_by_layer(const JsonObject& config, const std::string& architecture,
                         int64_t context_length, Metadata& metadata) {
  double local_base = 10000.0;
  Rope full;
  bool by_layer = false;
  if (config.has("rope_parameters")) {
    const JsonObject all = TRY(config.get_object("rope_parameters"));
    by_layer = all.has("full_attention");
    if (by_layer) {
      const JsonObject full_object = TRY(all.get_object("full_attention"));
      full = TRY(read_parameters(full_object));
      const JsonObject local_object = TRY(all.get_object("sliding_attention"));
      const Rope local = TRY(read_parameters(local_object));
      if (local.type != "default") {
        return Error{ErrorCode::kUnsupported,
                     config.label() + ": scaled rotation of layers with a sliding window"};
      }
      local_base = local.theta;
    }
  }
  if (!by_layer) {
    full = TRY(read_rope(config));
    local_base = TRY(config.get_float_or("rope_local_base_freq", local_base));
  }
  if (!(local_base > 0)) return config.bad("rope_local_base_freq", "must be above 0");
  metadata.set_float32(architecture + ".rope.freq_base_swa", static_cast<float>(local_base));
  return set_one_rope(config, full, architecture, context_length, metadata, {});
}

Status set_long_rope(const JsonObject& config, const std::string& architecture,
                     int64_t context_length, Metadata& metadata) {
  const Rope rope = TRY(read_rope(config));
  if (!is_long_rope(rope)) {
    return set_one_rope(config, rope, architecture, context_length, metadata, {});
  }
  metadata.set_float32(architecture + ".rope.freq_base", static_cast<float>(rope.theta));
  const int64_t original =
      TRY(config.get_int_or("original_max_position_embeddings", context_length, 1, context_length));
  const double factor = static_cast<double>(context_length) / static_cast<double>(original);
  double magnitude = 1.0;
  if (rope.scaling->has("attention_factor")) {
    magnitude = TRY(positive(*rope.scaling, "attention_factor"));
  } else if (factor > 1.0) {
    magnitude = std::sqrt(1.0 + std::log(factor) / std::log(static_cast<double>(original)));
  }
  metadata.set_float32(architecture + ".rope.scaling.attn_factor", static_cast<float>(magnitude));
  return {};
}

Result<LongRopeFactors> long_rope_factors(const JsonObject& config) {
  LongRopeFactors factors;
  // Models whose layers have different rotations have no such factors.
  if (config.has("rope_parameters") &&
      TRY(config.get_object("rope_parameters")).has("full_attention")) {
    return factors;
  }
  const Rope rope = TRY(read_rope(config));
  if (!is_long_rope(rope)) return factors;
  const int64_t heads = TRY(config.get_int("num_attention_heads", 1, 1 << 20));
  const int64_t hidden = TRY(config.get_int("hidden_size", 1, 1 << 24));
  const int64_t head_dim = TRY(config.get_int_or("head_dim", hidden / heads, 2, 1 << 16));
  for (const auto& [key, values] : {std::pair("short_factor", &factors.short_factors),
                                    std::pair("long_factor", &factors.long_factors)}) {
    for (const auto& value : *TRY(rope.scaling->get_array(key))) {
      if (!value.is_number() || !(value.to_number<double>() > 0)) {
        return rope.scaling->bad(key, "holds something else than numbers above 0");
      }
      values->push_back(static_cast<float>(value.to_number<double>()));
    }
    if (static_cast<int64_t>(values->size()) != head_dim / 2) {
      return rope.scaling->bad(key, "has " + std::to_string(values->size()) + " numbers, not " +
                                        std::to_string(head_dim / 2));
    }
  }
  return factors;
}

Result<std::vector<float>> rope_frequency_factors(const JsonObject& config) {
  if (config.has("rope_parameters") &&
      TRY(config.get_object("rope_parameters")).has("full_attention")) {
    return std::vector<float>();
  }
  const Rope rope = TRY(read_rope(config));
  if (rope.type != "llama3") return std::vector<float>();
  const JsonObject& scaling = *rope.scaling;
  const int64_t heads = TRY(config.get_int("num_attention_heads", 1, 1 << 20));
  const int64_t hidden = TRY(config.get_int("hidden_size", 1, 1 << 24));
  Llama3Rope llama3;
  llama3.theta = rope.theta;
  llama3.head_dim = TRY(config.get_int_or("head_dim", hidden / heads, 2, 1 << 16));
  llama3.factor = static_cast<float>(TRY(positive(scaling, "factor")));
  llama3.low_freq_factor = static_cast<float>(TRY(positive(scaling, "low_freq_factor")));
  llama3.high_freq_factor = static_cast<float>(TRY(positive(scaling, "high_freq_factor")));
  if (!(llama3.high_freq_factor > llama3.low_freq_factor)) {
    return scaling.bad("high_freq_factor", "must be above low_freq_factor");
  }
  llama3.original_context =
      static_cast<float>(TRY(scaling.get_int("original_max_position_embeddings", 1, 1 << 30)));
  return llama3_frequency_factors(llama3);
}

}  // namespace realm::hf
