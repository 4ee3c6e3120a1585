// The table of architectures: adding one is a file with a loader and a row here.
#pragma once

#include <memory>
#include <span>

#include "models/model.h"

namespace realm {

struct Architecture {
  const char* name;  // general.architecture
  Result<std::unique_ptr<Model>> (*load)(std::shared_ptr<const TensorDirectory> file,
                                         Backend& backend);
};

std::span<const Architecture> architectures();

using ModelFile = std::shared_ptr<const TensorDirectory>;
Result<std::unique_ptr<Model>> load_arcee(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_bert(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_cohere2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_deepseek2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_ernie4_5(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_ernie4_5_moe(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_eurobert(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_exaone4(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_gemma(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_gemma2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_gemma3(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_glm4(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_glm4moe(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_gpt_oss(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_gptneox(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_granite(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_granitemoe(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_hunyuan_dense(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_jais2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_llama(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_minimax_m2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_modern_bert(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_nemotron(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_olmo2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_olmoe(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_phi2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_phi3(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_qwen2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_qwen2moe(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_qwen3(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_qwen3moe(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_seed_oss(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_stablelm(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_starcoder2(ModelFile file, Backend& backend);

}  // namespace realm
