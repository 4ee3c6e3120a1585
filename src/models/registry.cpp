#include "models/registry.h"

#include "models/check_weights.h"

namespace realm {
namespace {

// Files up to this size are checked whole when they are loaded, in some tens of milliseconds; of a
// larger one every page would be read, so it is checked when its logits are not numbers (engine/).
constexpr int64_t kCheckedBytes = int64_t{64} << 20;

Status check_small_file(const TensorDirectory& file) {
  int64_t bytes = 0;
  for (const TensorInfo& tensor : file.tensors()) bytes += static_cast<int64_t>(tensor.data.size());
  return bytes <= kCheckedBytes ? check_weights(file) : Status{};
}

}  // namespace

std::span<const Architecture> architectures() {
  static constexpr Architecture kArchitectures[] = {
      {"arcee", load_arcee},
      {"bert", load_bert},
      {"cohere2", load_cohere2},
      {"deepseek2", load_deepseek2},
      {"ernie4_5", load_ernie4_5},
      {"ernie4_5-moe", load_ernie4_5_moe},
      {"eurobert", load_eurobert},
      {"exaone4", load_exaone4},
      {"gemma", load_gemma},
      {"gemma2", load_gemma2},
      {"gemma3", load_gemma3},
      {"glm4", load_glm4},
      {"glm4moe", load_glm4moe},
      {"gpt-oss", load_gpt_oss},
      {"gptneox", load_gptneox},
      {"granite", load_granite},
      {"granitemoe", load_granitemoe},
      {"hunyuan-dense", load_hunyuan_dense},
      {"jais2", load_jais2},
      {"llama", load_llama},
      {"minimax-m2", load_minimax_m2},
      {"modern-bert", load_modern_bert},
      {"nemotron", load_nemotron},
      {"olmo2", load_olmo2},
      {"olmoe", load_olmoe},
      {"phi2", load_phi2},
      {"phi3", load_phi3},
      {"qwen2", load_qwen2},
      {"qwen2moe", load_qwen2moe},
      {"qwen3", load_qwen3},
      {"qwen3moe", load_qwen3moe},
      {"seed_oss", load_seed_oss},
      {"stablelm", load_stablelm},
      {"starcoder2", load_starcoder2},
  };
  return kArchitectures;
}

std::vector<std::string> known_architectures() {
  std::vector<std::string> names;
  for (const Architecture& architecture : architectures()) names.emplace_back(architecture.name);
  return names;
}

Result<std::unique_ptr<Model>> load_model(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  const std::string type = TRY(file->metadata().get_string_or("general.type", "model"));
  if (type != "model") {
    return Error{ErrorCode::kBadModel, "general.type is '" + type + "': this file is not a model"};
  }
  const std::string name = TRY(file->metadata().get_string("general.architecture"));
  for (const Architecture& architecture : architectures()) {
    if (name != architecture.name) continue;
    auto model = architecture.load(file, backend);
    if (model.ok()) TRY(check_small_file(*file));
    return model;
  }
  std::string known;
  for (const std::string& k : known_architectures()) known += (known.empty() ? "" : ", ") + k;
  return Error{ErrorCode::kBadModel,
               "general.architecture: '" + name + "' is not supported (known: " + known + ")"};
}

}  // namespace realm
