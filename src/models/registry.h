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
Result<std::unique_ptr<Model>> load_deepseek2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_gemma2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_gemma3(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_gpt_oss(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_llama(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_phi3(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_qwen2(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_qwen3(ModelFile file, Backend& backend);
Result<std::unique_ptr<Model>> load_qwen3moe(ModelFile file, Backend& backend);

}  // namespace realm
