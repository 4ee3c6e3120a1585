#include "formats/hf/family.h"

#include <boost/json/array.hpp>
#include <filesystem>

#include "formats/hf/rope.h"
#include "formats/hf/vocabulary.h"
#include "formats/tensor_directory.h"

namespace realm::hf {
namespace {

constexpr int64_t kMaxLayers = 100000;

// Mistral and Llama share everything; biases, where there are any, go by the same names.
constexpr TensorRule kLlamaTensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm"},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q", TensorChange::kInterleaveQueryHeads},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k", TensorChange::kInterleaveKeyHeads},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm"},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
};

constexpr TensorRule kQwen3Tensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm"},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q"},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k"},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.self_attn.q_norm", "blk.*.attn_q_norm"},
    {"model.layers.*.self_attn.k_norm", "blk.*.attn_k_norm"},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm"},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
};

// The keys of a dense decoder with grouped-query attention and a gated SiLU feed-forward.
Status set_dense_decoder(const JsonObject& config, const std::string& architecture,
                         Metadata& metadata) {
  const std::string activation = TRY(config.get_string_or("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return Error{
        ErrorCode::kUnsupported,
        config.label() + ": hidden_act " + quoted_name(activation) + " is not supported; silu is"};
  }
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
  if (partial != 1.0) {
    return Error{ErrorCode::kUnsupported, config.label() + ": partial_rotary_factor other than 1"};
  }
  const int64_t context = TRY(config.get_int("max_position_embeddings", 1, int64_t{1} << 31));

  const auto set = [&](const char* key, int64_t value) {
    metadata.set_uint32(architecture + key, static_cast<uint32_t>(value));
  };
  set(".block_count", TRY(config.get_int("num_hidden_layers", 1, kMaxLayers)));
  set(".context_length", context);
  set(".embedding_length", hidden);
  set(".feed_forward_length", TRY(config.get_int("intermediate_size", 1, 1 << 26)));
  set(".attention.head_count", heads);
  set(".attention.head_count_kv", kv_heads);
  set(".attention.key_length", head_dim);
  set(".attention.value_length", head_dim);
  metadata.set_float32(architecture + ".attention.layer_norm_rms_epsilon",
                       static_cast<float>(TRY(config.get_float("rms_norm_eps"))));
  set(".vocab_size", TRY(config.get_int("vocab_size", 1, kMaxTokens)));
  set(".rope.dimension_count", head_dim);
  if (config.has("sliding_window") && TRY(config.get_bool_or("use_sliding_window", true))) {
    const int64_t window = TRY(config.get_int("sliding_window", 1, int64_t{1} << 31));
    if (window < context) set(".attention.sliding_window", window);
  }
  return set_rope(config, architecture, context, metadata);
}

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", kLlamaTensors, set_dense_decoder},
    {"MistralForCausalLM", "llama", kLlamaTensors, set_dense_decoder},
    {"Qwen3ForCausalLM", "qwen3", kQwen3Tensors, set_dense_decoder},
};

// Matches a name against a pattern with at most one "*", a layer's number.
bool match_layer(std::string_view pattern, std::string_view name, int64_t& layer) {
  const size_t star = pattern.find('*');
  layer = -1;
  if (star == std::string_view::npos) return pattern == name;
  if (name.substr(0, star) != pattern.substr(0, star)) return false;
  size_t end = star;
  int64_t number = 0;
  while (end < name.size() && name[end] >= '0' && name[end] <= '9' && number < kMaxLayers) {
    number = number * 10 + (name[end++] - '0');
  }
  const std::string_view digits = name.substr(star, end - star);
  if (digits.empty() || (digits.size() > 1 && digits[0] == '0')) return false;
  layer = number;
  return name.substr(end) == pattern.substr(star + 1);
}

}  // namespace

std::span<const Family> families() {
  return kFamilies;
}

Result<const Family*> family_of_config(const JsonObject& config) {
  const auto& architectures = *TRY(config.get_array("architectures"));
  if (architectures.empty() || !architectures[0].is_string()) {
    return config.bad("architectures", "expected the name of a model class");
  }
  const std::string name(architectures[0].get_string());
  std::string known;
  for (const Family& family : kFamilies) {
    if (name == family.hf_class) return &family;
    known += (known.empty() ? "" : ", ") + std::string(family.hf_class);
  }
  return Error{ErrorCode::kUnsupported, config.label() + ": model class " + quoted_name(name) +
                                            " is not supported; " + known + " are"};
}

const Family* family_of_architecture(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (architecture == family.gguf_architecture) return &family;
  }
  return nullptr;
}

std::optional<MappedName> map_tensor_name(const Family& family, std::string_view hf_name) {
  for (const std::string_view suffix : {".weight", ".bias"}) {
    if (hf_name.size() <= suffix.size() ||
        hf_name.substr(hf_name.size() - suffix.size()) != suffix) {
      continue;
    }
    const std::string_view stem = hf_name.substr(0, hf_name.size() - suffix.size());
    for (const TensorRule& rule : family.tensors) {
      int64_t layer = -1;
      if (!match_layer(rule.hf, stem, layer)) continue;
      std::string gguf = rule.gguf;
      const size_t star = gguf.find('*');
      if (star != std::string::npos) gguf.replace(star, 1, std::to_string(layer));
      return MappedName{gguf + std::string(suffix), rule.change, layer};
    }
  }
  return std::nullopt;
}

Status set_model_metadata(const Family& family, const JsonObject& config, const std::string& folder,
                          Metadata& metadata) {
  metadata.set_string("general.architecture", family.gguf_architecture);
  metadata.set_string("general.type", "model");
  std::filesystem::path path = std::filesystem::path(folder).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  metadata.set_string("general.name", path.filename().string());
  return family.set_hyper_parameters(config, family.gguf_architecture, metadata);
}

}  // namespace realm::hf
