#include "formats/hf/family.h"

#include <boost/json/array.hpp>
#include <filesystem>

#include "formats/hf/hyper_parameters.h"
#include "formats/tensor_directory.h"

namespace realm::hf {
namespace {

using enum TensorChange;

// Mistral and Llama share everything; biases, where there are any, go by the same names.
constexpr TensorRule kLlamaTensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm"},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q", kInterleaveQueryHeads},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k", kInterleaveKeyHeads},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm"},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
};

constexpr TensorRule kMixtralTensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm"},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q", kInterleaveQueryHeads},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k", kInterleaveKeyHeads},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm"},
    {"model.layers.*.block_sparse_moe.gate", "blk.*.ffn_gate_inp", kFloats},
    {"model.layers.*.block_sparse_moe.experts.#.w1", "blk.*.ffn_gate_exps"},
    {"model.layers.*.block_sparse_moe.experts.#.w3", "blk.*.ffn_up_exps"},
    {"model.layers.*.block_sparse_moe.experts.#.w2", "blk.*.ffn_down_exps"},
};

// Qwen2 has biases and Qwen3 norms of q and k; the names of one are not in the other's files. Both
// kinds of feed-forward may stand in one model.
constexpr TensorRule kQwenTensors[] = {
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
    {"model.layers.*.mlp.gate", "blk.*.ffn_gate_inp", kFloats},
    {"model.layers.*.mlp.experts.#.gate_proj", "blk.*.ffn_gate_exps"},
    {"model.layers.*.mlp.experts.#.up_proj", "blk.*.ffn_up_exps"},
    {"model.layers.*.mlp.experts.#.down_proj", "blk.*.ffn_down_exps"},
    {"model.layers.*.mlp.shared_expert.gate_proj", "blk.*.ffn_gate_shexp"},
    {"model.layers.*.mlp.shared_expert.up_proj", "blk.*.ffn_up_shexp"},
    {"model.layers.*.mlp.shared_expert.down_proj", "blk.*.ffn_down_shexp"},
    {"model.layers.*.mlp.shared_expert_gate", "blk.*.ffn_gate_inp_shexp", kFloats},
};

// Norms after each branch in place of before.
constexpr TensorRule kPostNormTensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q"},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k"},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.self_attn.q_norm", "blk.*.attn_q_norm"},
    {"model.layers.*.self_attn.k_norm", "blk.*.attn_k_norm"},
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm"},
    {"model.layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm"},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
};

constexpr TensorRule kSeedOssTensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm"},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q"},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k"},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm"},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
};

constexpr TensorRule kGemma1Tensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm", kAddOne},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", kAddOne},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q"},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k"},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm", kAddOne},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
};

constexpr TensorRule kGemmaTensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm", kAddOne},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", kAddOne},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q"},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k"},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.self_attn.q_norm", "blk.*.attn_q_norm", kAddOne},
    {"model.layers.*.self_attn.k_norm", "blk.*.attn_k_norm", kAddOne},
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm", kAddOne},
    {"model.layers.*.pre_feedforward_layernorm", "blk.*.ffn_norm", kAddOne},
    {"model.layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm", kAddOne},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
};

constexpr TensorRule kPhi3Tensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm"},
    {"model.layers.*.self_attn.qkv_proj", "blk.*.attn_qkv"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm"},
    {"model.layers.*.mlp.gate_up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
};

constexpr TensorRule kGptOssTensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm"},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q"},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k"},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.self_attn.sinks", "blk.*.attn_sinks.weight", kNone, true},
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm"},
    {"model.layers.*.mlp.router", "blk.*.ffn_gate_inp", kFloats},
    {"model.layers.*.mlp.experts.gate_up_proj", "blk.*.ffn_gate_exps.weight", kTransposeGates,
     true},
    {"model.layers.*.mlp.experts.gate_up_proj", "blk.*.ffn_up_exps.weight", kTransposeUps, true},
    {"model.layers.*.mlp.experts.gate_up_proj_bias", "blk.*.ffn_gate_exps.bias", kGateBiases, true},
    {"model.layers.*.mlp.experts.gate_up_proj_bias", "blk.*.ffn_up_exps.bias", kUpBiases, true},
    {"model.layers.*.mlp.experts.down_proj", "blk.*.ffn_down_exps.weight", kTranspose, true},
    {"model.layers.*.mlp.experts.down_proj_bias", "blk.*.ffn_down_exps.bias", kFloats, true},
};

constexpr TensorRule kDeepSeekTensors[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm"},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q"},
    {"model.layers.*.self_attn.q_a_proj", "blk.*.attn_q_a"},
    {"model.layers.*.self_attn.q_a_layernorm", "blk.*.attn_q_a_norm"},
    {"model.layers.*.self_attn.q_b_proj", "blk.*.attn_q_b"},
    {"model.layers.*.self_attn.kv_a_proj_with_mqa", "blk.*.attn_kv_a_mqa"},
    {"model.layers.*.self_attn.kv_a_layernorm", "blk.*.attn_kv_a_norm"},
    {"model.layers.*.self_attn.kv_b_proj", "blk.*.attn_k_b", kLatentKeys},
    {"model.layers.*.self_attn.kv_b_proj", "blk.*.attn_v_b", kLatentValues},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm"},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
    {"model.layers.*.mlp.gate", "blk.*.ffn_gate_inp", kFloats},
    {"model.layers.*.mlp.gate.e_score_correction_bias", "blk.*.exp_probs_b.bias", kNone, true},
    {"model.layers.*.mlp.experts.#.gate_proj", "blk.*.ffn_gate_exps"},
    {"model.layers.*.mlp.experts.#.up_proj", "blk.*.ffn_up_exps"},
    {"model.layers.*.mlp.experts.#.down_proj", "blk.*.ffn_down_exps"},
    {"model.layers.*.mlp.shared_experts.gate_proj", "blk.*.ffn_gate_shexp"},
    {"model.layers.*.mlp.shared_experts.up_proj", "blk.*.ffn_up_shexp"},
    {"model.layers.*.mlp.shared_experts.down_proj", "blk.*.ffn_down_shexp"},
};

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", kLlamaTensors, set_dense_decoder},
    {"MistralForCausalLM", "llama", kLlamaTensors, set_dense_decoder},
    {"MixtralForCausalLM", "llama", kMixtralTensors, set_expert_decoder},
    {"Qwen2ForCausalLM", "qwen2", kQwenTensors, set_dense_decoder},
    {"Qwen3ForCausalLM", "qwen3", kQwenTensors, set_dense_decoder},
    {"Qwen3MoeForCausalLM", "qwen3moe", kQwenTensors, set_expert_decoder},
    {"Qwen2MoeForCausalLM", "qwen2moe", kQwenTensors, set_qwen2moe},
    {"OlmoeForCausalLM", "olmoe", kQwenTensors, set_olmoe},
    {"Olmo2ForCausalLM", "olmo2", kPostNormTensors, set_dense_decoder},
    {"Exaone4ForCausalLM", "exaone4", kPostNormTensors, set_exaone4},
    {"GraniteForCausalLM", "granite", kLlamaTensors, set_granite},
    {"Ernie4_5ForCausalLM", "ernie4_5", kQwenTensors, set_dense_decoder},
    {"SeedOssForCausalLM", "seed_oss", kSeedOssTensors, set_dense_decoder},
    {"GemmaForCausalLM", "gemma", kGemma1Tensors, set_gemma1, true},
    {"Gemma2ForCausalLM", "gemma2", kGemmaTensors, set_gemma2, true},
    {"Gemma3ForCausalLM", "gemma3", kGemmaTensors, set_gemma3, true},
    {"Phi3ForCausalLM", "phi3", kPhi3Tensors, set_phi3},
    {"GptOssForCausalLM", "gpt-oss", kGptOssTensors, set_gpt_oss},
    {"DeepseekV2ForCausalLM", "deepseek2", kDeepSeekTensors, set_deepseek2},
    {"DeepseekV3ForCausalLM", "deepseek2", kDeepSeekTensors, set_deepseek2},
};

// Takes a number off the front of `name`: digits without leading zeros, below `limit`.
bool take_number(std::string_view& name, int64_t limit, int64_t& number) {
  size_t end = 0;
  number = 0;
  while (end < name.size() && name[end] >= '0' && name[end] <= '9' && number < limit) {
    number = number * 10 + (name[end++] - '0');
  }
  if (end == 0 || (end > 1 && name[0] == '0')) return false;
  name.remove_prefix(end);
  return true;
}

// Matches a name against a pattern with at most one "*" and one "#".
bool match_name(std::string_view pattern, std::string_view name, int64_t& layer, int64_t& expert) {
  layer = expert = -1;
  for (const char c : pattern) {
    if (c == '*') {
      if (!take_number(name, kMaxLayers, layer)) return false;
    } else if (c == '#') {
      if (!take_number(name, kMaxExperts, expert)) return false;
    } else {
      if (name.empty() || name[0] != c) return false;
      name.remove_prefix(1);
    }
  }
  return name.empty();
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

std::vector<MappedName> map_tensor_name(const Family& family, std::string_view hf_name) {
  std::vector<MappedName> mapped;
  for (const TensorRule& rule : family.tensors) {
    for (const std::string_view suffix : {"", ".weight", ".bias"}) {
      if (rule.whole != suffix.empty() || !hf_name.ends_with(suffix)) continue;
      int64_t layer = -1, expert = -1;
      const std::string_view stem = hf_name.substr(0, hf_name.size() - suffix.size());
      if (!match_name(rule.hf, stem, layer, expert)) continue;
      std::string gguf = rule.gguf;
      const size_t star = gguf.find('*');
      if (star != std::string::npos) gguf.replace(star, 1, std::to_string(layer));
      mapped.push_back({gguf + std::string(suffix), rule.change, layer, expert});
    }
  }
  return mapped;
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
