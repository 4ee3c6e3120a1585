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

Result<std::unique_ptr<Model>> load_llama(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend);
Result<std::unique_ptr<Model>> load_qwen3(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend);

}  // namespace realm
