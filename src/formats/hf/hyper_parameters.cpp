#include "formats/hf/hyper_parameters.h"

#include <boost/json/array.hpp>

#include "formats/hf/rope.h"
#include "formats/hf/vocabulary.h"
#include "formats/tensor_directory.h"

namespace realm::hf {
namespace {

constexpr int64_t kMaxContext = int64_t{1} << 31;

// Sets ARCH.KEY of one architecture.
struct Keys {
  const std::string& architecture;
  Metadata& metadata;
  void integer(const char* key, int64_t value) const {
    metadata.set_uint32(architecture + "." + key, static_cast<uint32_t>(value));
  }
  void number(const char* key, double value) const {
    metadata.set_float32(architecture + "." + key, static_cast<float>(value));
  }
};

Error unsupported(const JsonObject& config, const std::string& what) {
  return Error{ErrorCode::kUnsupported, config.label() + ": " + what};
}

Status expect_activation(const JsonObject& config, const char* key, const std::string& wanted) {
  const std::string found = TRY(config.get_string_or(key, wanted));
  const bool same = found == wanted || (wanted == "silu" && found == "swish");
  if (same) return {};
  return unsupported(
      config, std::string(key) + " " + quoted_name(found) + " is not supported; " + wanted + " is");
}

// A flag that a family's GGUF files cannot carry has to have its one value.
Status expect_flag(const JsonObject& config, const char* key, bool wanted) {
  if (TRY(config.get_bool_or(key, wanted)) == wanted) return {};
  return unsupported(config,
                     std::string(key) + " " + (wanted ? "false" : "true") + " is not supported");
}

// The keys of every decoder's shape but its rotation; returns the context's length.
Result<int64_t> set_shape(const JsonObject& config, const Keys& keys) {
  const int64_t hidden = TRY(config.get_int("hidden_size", 1, 1 << 24));
  const int64_t heads = TRY(config.get_int("num_attention_heads", 1, 1 << 20));
  const int64_t kv_heads = TRY(config.get_int_or("num_key_value_heads", heads, 1, heads));
  if (heads % kv_heads != 0) {
    return config.bad("num_key_value_heads", std::to_string(kv_heads) + " does not divide " +
                                                 std::to_string(heads) + " heads");
  }
  if (!config.has("head_dim") && hidden % heads != 0) {
    return config.bad("num_attention_heads",
                      std::to_string(heads) + " does not divide hidden_size");
  }
  const int64_t head_dim = TRY(config.get_int_or("head_dim", hidden / heads, 2, 1 << 16));
  if (head_dim % 2 != 0) return config.bad("head_dim", "must be even");
  const double partial = TRY(config.get_float_or("partial_rotary_factor", 1.0));
  if (partial != 1.0) return unsupported(config, "partial_rotary_factor other than 1");
  const int64_t context = TRY(config.get_int("max_position_embeddings", 1, kMaxContext));
  keys.integer("block_count", TRY(config.get_int("num_hidden_layers", 1, kMaxLayers)));
  keys.integer("context_length", context);
  keys.integer("embedding_length", hidden);
  keys.integer("feed_forward_length", TRY(config.get_int("intermediate_size", 1, 1 << 26)));
  keys.integer("attention.head_count", heads);
  keys.integer("attention.head_count_kv", kv_heads);
  keys.integer("attention.key_length", head_dim);
  keys.integer("attention.value_length", head_dim);
  keys.number("attention.layer_norm_rms_epsilon", TRY(config.get_float("rms_norm_eps")));
  keys.integer("vocab_size", TRY(config.get_int("vocab_size", 1, kMaxTokens)));
  keys.integer("rope.dimension_count", head_dim);
  return context;
}

// Sets the experts' number, by any of the names in use, and how many a token uses.
Status set_expert_counts(const JsonObject& config, const Keys& keys) {
  int64_t experts = 0;
  for (const char* name : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    if (config.has(name)) experts = TRY(config.get_int(name, 1, kMaxExperts));
  }
  if (experts == 0) return config.bad("num_local_experts", "is missing");
  keys.integer("expert_count", experts);
  keys.integer("expert_used_count", TRY(config.get_int("num_experts_per_tok", 1, experts)));
  return {};
}

// Layers have to alternate as the architecture's reader takes for granted: of each `pattern` the
// one at `full` is full, the others slide.
Status expect_layer_types(const JsonObject& config, int64_t pattern, int64_t full) {
  if (!config.has("layer_types")) return {};
  int64_t i = 0;
  for (const auto& type : *TRY(config.get_array("layer_types"))) {
    const char* wanted = i++ % pattern == full ? "full_attention" : "sliding_attention";
    if (!type.is_string() || type.get_string() != wanted) {
      return unsupported(config, "layer_types: layer " + std::to_string(i - 1) + " is not " +
                                     wanted + ", as this model class has it");
    }
  }
  return {};
}

}  // namespace

Status set_dense_decoder(const JsonObject& config, const std::string& architecture,
                         Metadata& metadata) {
  const Keys keys{architecture, metadata};
  TRY(expect_activation(config, "hidden_act", "silu"));
  const int64_t context = TRY(set_shape(config, keys));
  if (config.has("sliding_window") && TRY(config.get_bool_or("use_sliding_window", true))) {
    const int64_t window = TRY(config.get_int("sliding_window", 1, kMaxContext));
    if (window < context) keys.integer("attention.sliding_window", window);
  }
  return set_rope(config, architecture, context, metadata);
}

namespace {

Status set_experts(const JsonObject& config, const Keys& keys, bool normalized) {
  TRY(set_dense_decoder(config, keys.architecture, keys.metadata));
  TRY(set_expert_counts(config, keys));
  TRY(expect_flag(config, "norm_topk_prob", normalized));
  if (TRY(config.get_int_or("decoder_sparse_step", 1, 0, kMaxLayers)) != 1) {
    return unsupported(config, "decoder_sparse_step other than 1");
  }
  if (config.has("mlp_only_layers") && !TRY(config.get_array("mlp_only_layers"))->empty()) {
    return unsupported(config, "mlp_only_layers");
  }
  if (config.has("moe_intermediate_size")) {
    keys.integer("expert_feed_forward_length",
                 TRY(config.get_int("moe_intermediate_size", 1, 1 << 26)));
  }
  return {};
}

}  // namespace

Status set_expert_decoder(const JsonObject& config, const std::string& architecture,
                          Metadata& metadata) {
  return set_experts(config, {architecture, metadata}, true);
}

Status set_olmoe(const JsonObject& config, const std::string& architecture, Metadata& metadata) {
  if (config.has("clip_qkv")) return unsupported(config, "clip_qkv");
  return set_experts(config, {architecture, metadata}, false);
}

Status set_qwen2moe(const JsonObject& config, const std::string& architecture, Metadata& metadata) {
  const Keys keys{architecture, metadata};
  TRY(set_experts(config, keys, false));
  keys.integer("expert_shared_feed_forward_length",
               TRY(config.get_int("shared_expert_intermediate_size", 1, 1 << 26)));
  return {};
}

Status set_exaone4(const JsonObject& config, const std::string& architecture, Metadata& metadata) {
  if (config.has("sliding_window")) TRY(expect_layer_types(config, 4, 3));
  return set_dense_decoder(config, architecture, metadata);
}

Status set_granite(const JsonObject& config, const std::string& architecture, Metadata& metadata) {
  const Keys keys{architecture, metadata};
  TRY(set_dense_decoder(config, architecture, metadata));
  for (const auto& [name, key] : {std::pair("attention_multiplier", "attention.scale"),
                                  std::pair("embedding_multiplier", "embedding_scale"),
                                  std::pair("residual_multiplier", "residual_scale"),
                                  std::pair("logits_scaling", "logit_scale")}) {
    keys.number(key, TRY(config.get_float_or(name, 1.0)));
  }
  return {};
}

namespace {

Result<int64_t> set_gemma(const JsonObject& config, const Keys& keys) {
  TRY(expect_activation(config, "hidden_activation", "gelu_pytorch_tanh"));
  TRY(expect_flag(config, "attention_bias", false));
  const int64_t context = TRY(set_shape(config, keys));
  const int64_t window = TRY(config.get_int_or("sliding_window", 4096, 1, kMaxContext));
  keys.integer("attention.sliding_window", window);
  return context;
}

}  // namespace

Status set_gemma1(const JsonObject& config, const std::string& architecture, Metadata& metadata) {
  const Keys keys{architecture, metadata};
  // Its first configs said "gelu" and meant this.
  if (config.has("hidden_activation")) {
    TRY(expect_activation(config, "hidden_activation", "gelu_pytorch_tanh"));
  }
  TRY(expect_flag(config, "attention_bias", false));
  return set_rope(config, architecture, TRY(set_shape(config, keys)), metadata);
}

Status set_gemma2(const JsonObject& config, const std::string& architecture, Metadata& metadata) {
  const Keys keys{architecture, metadata};
  const int64_t context = TRY(set_gemma(config, keys));
  TRY(expect_layer_types(config, 2, 1));
  keys.number("attn_logit_softcapping", TRY(config.get_float("attn_logit_softcapping")));
  keys.number("final_logit_softcapping", TRY(config.get_float("final_logit_softcapping")));
  return set_rope(config, architecture, context, metadata);
}

Status set_gemma3(const JsonObject& config, const std::string& architecture, Metadata& metadata) {
  const Keys keys{architecture, metadata};
  const int64_t context = TRY(set_gemma(config, keys));
  TRY(expect_layer_types(config, 6, 5));
  if (config.has("attn_logit_softcapping")) {
    return unsupported(config, "attn_logit_softcapping, which Gemma 3 has none of");
  }
  if (config.has("final_logit_softcapping")) {
    keys.number("final_logit_softcapping", TRY(config.get_float("final_logit_softcapping")));
  }
  return set_rope_by_layer(config, architecture, context, metadata);
}

Status set_phi3(const JsonObject& config, const std::string& architecture, Metadata& metadata) {
  const Keys keys{architecture, metadata};
  TRY(expect_activation(config, "hidden_act", "silu"));
  const int64_t context = TRY(set_shape(config, keys));
  keys.integer("rope.scaling.original_context_length",
               TRY(config.get_int_or("original_max_position_embeddings", context, 1, context)));
  keys.integer("attention.sliding_window",
               TRY(config.get_int_or("sliding_window", 0, 0, kMaxContext)));
  return set_long_rope(config, architecture, context, metadata);
}

Status set_gpt_oss(const JsonObject& config, const std::string& architecture, Metadata& metadata) {
  const Keys keys{architecture, metadata};
  TRY(expect_activation(config, "hidden_act", "silu"));
  TRY(expect_flag(config, "attention_bias", true));
  TRY(expect_layer_types(config, 2, 1));
  if (TRY(config.get_float_or("swiglu_limit", 7.0)) != 7.0 ||
      TRY(config.get_float_or("swiglu_alpha", 1.702)) != 1.702) {
    return unsupported(config, "swiglu_limit or swiglu_alpha other than 7 and 1.702");
  }
  const int64_t context = TRY(set_shape(config, keys));
  TRY(set_expert_counts(config, keys));
  keys.integer("expert_feed_forward_length", TRY(config.get_int("intermediate_size", 1, 1 << 26)));
  keys.integer("attention.sliding_window", TRY(config.get_int("sliding_window", 1, kMaxContext)));
  return set_rope(config, architecture, context, metadata, {.may_not_truncate = true});
}

namespace {

// How DeepSeek's routers score and choose.
Status set_deepseek_router(const JsonObject& config, const Keys& keys) {
  const std::string method = TRY(config.get_string_or("topk_method", "noaux_tc"));
  if (method != "noaux_tc" && method != "greedy" && method != "group_limited_greedy") {
    return unsupported(config, "topk_method " + quoted_name(method));
  }
  const std::string score =
      TRY(config.get_string_or("scoring_func", method == "noaux_tc" ? "sigmoid" : "softmax"));
  if (score != "softmax" && score != "sigmoid") {
    return unsupported(config, "scoring_func " + quoted_name(score));
  }
  keys.integer("expert_gating_func", score == "softmax" ? 1 : 2);
  const int64_t groups =
      method == "greedy" ? 1 : TRY(config.get_int_or("n_group", 1, 1, kMaxExperts));
  keys.integer("expert_group_count", groups);
  keys.integer("expert_group_used_count",
               method == "greedy" ? 1 : TRY(config.get_int_or("topk_group", groups, 1, groups)));
  keys.number("expert_weights_scale", TRY(config.get_float_or("routed_scaling_factor", 1.0)));
  if (TRY(config.get_bool_or("norm_topk_prob", false))) {
    keys.metadata.set_bool(keys.architecture + ".expert_weights_norm", true);
  }
  return {};
}

}  // namespace

Status set_deepseek2(const JsonObject& config, const std::string& architecture,
                     Metadata& metadata) {
  const Keys keys{architecture, metadata};
  TRY(expect_activation(config, "hidden_act", "silu"));
  TRY(expect_flag(config, "attention_bias", false));
  const int64_t rotated = TRY(config.get_int("qk_rope_head_dim", 2, 1 << 12));
  const int64_t rank = TRY(config.get_int("kv_lora_rank", 1, 1 << 16));
  const int64_t nope = TRY(config.get_int("qk_nope_head_dim", 1, 1 << 12));
  const int64_t context = TRY(config.get_int("max_position_embeddings", 1, kMaxContext));
  keys.integer("block_count", TRY(config.get_int("num_hidden_layers", 1, kMaxLayers)));
  keys.integer("context_length", context);
  keys.integer("embedding_length", TRY(config.get_int("hidden_size", 1, 1 << 24)));
  keys.integer("feed_forward_length", TRY(config.get_int("intermediate_size", 1, 1 << 26)));
  keys.integer("attention.head_count", TRY(config.get_int("num_attention_heads", 1, 1 << 20)));
  keys.integer("attention.head_count_kv", 1);
  keys.number("attention.layer_norm_rms_epsilon", TRY(config.get_float("rms_norm_eps")));
  TRY(set_expert_counts(config, keys));
  TRY(set_deepseek_router(config, keys));
  // The cached head, and what it stands for.
  keys.integer("attention.key_length", rank + rotated);
  keys.integer("attention.value_length", rank);
  keys.integer("attention.key_length_mla", nope + rotated);
  keys.integer("attention.value_length_mla", TRY(config.get_int("v_head_dim", 1, 1 << 12)));
  if (config.has("q_lora_rank")) {
    keys.integer("attention.q_lora_rank", TRY(config.get_int("q_lora_rank", 1, 1 << 16)));
  }
  keys.integer("attention.kv_lora_rank", rank);
  keys.integer("vocab_size", TRY(config.get_int("vocab_size", 1, kMaxTokens)));
  keys.integer("leading_dense_block_count",
               TRY(config.get_int_or("first_k_dense_replace", 0, 0, kMaxLayers)));
  if (TRY(config.get_int_or("moe_layer_freq", 1, 1, kMaxLayers)) != 1) {
    return unsupported(config, "moe_layer_freq other than 1");
  }
  keys.integer("expert_feed_forward_length",
               TRY(config.get_int("moe_intermediate_size", 1, 1 << 26)));
  keys.integer("expert_shared_count", TRY(config.get_int_or("n_shared_experts", 0, 0, 1024)));
  keys.integer("rope.dimension_count", rotated);
  return set_rope(config, architecture, context, metadata, {.log_multiplier = true});
}

}  // namespace realm::hf
