#include "formats/hf/rope.h"

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

Result<Rope> read_rope(const JsonObject& config) {
  Rope rope;
  const bool is_new = config.has("rope_parameters");
  if (is_new) {
    rope.scaling = TRY(config.get_object("rope_parameters"));
    rope.theta = TRY(rope.scaling->get_float_or("rope_theta", rope.theta));
  } else {
    if (config.has("rope_scaling")) rope.scaling = TRY(config.get_object("rope_scaling"));
    rope.theta = TRY(config.get_float_or("rope_theta", rope.theta));
  }
  if (rope.scaling) {
    const char* key = rope.scaling->has("rope_type") ? "rope_type" : "type";
    rope.type = TRY(rope.scaling->get_string_or(key, "default"));
  }
  if (!(rope.theta > 0)) {
    return Error{ErrorCode::kBadModel, config.label() + ": rope_theta must be above 0"};
  }
  return rope;
}

Result<double> positive(const JsonObject& object, const char* key) {
  const double value = TRY(object.get_float(key));
  if (!(value > 0)) return object.bad(key, "must be above 0");
  return value;
}

Status set_yarn(const JsonObject& config, const JsonObject& scaling, const std::string& prefix,
                int64_t context_length, Metadata& metadata) {
  const double factor = TRY(positive(scaling, "factor"));
  if (!TRY(scaling.get_bool_or("truncate", true))) {
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

Status set_rope(const JsonObject& config, const std::string& architecture, int64_t context_length,
                Metadata& metadata) {
  const Rope rope = TRY(read_rope(config));
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
    return set_yarn(config, *rope.scaling, prefix, context_length, metadata);
  }
  return Error{ErrorCode::kUnsupported, config.label() + ": rope type " + quoted_name(rope.type) +
                                            " is not supported; default, linear, dynamic, yarn "
                                            "and llama3 are"};
}

Result<std::vector<float>> rope_frequency_factors(const JsonObject& config) {
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
