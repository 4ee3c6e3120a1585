// The one way to open a model for running, whatever form it has on disk.
#pragma once

#include <memory>
#include <string>

#include "base/file.h"
#include "formats/tensor_directory.h"

namespace realm {

// `path` is a GGUF file (any part of a split one) or a folder with a Hugging Face checkpoint.
// Errors as open_gguf (gguf.h) and hf::Checkpoint::open (hf/checkpoint.h).
Result<std::unique_ptr<TensorDirectory>> open_model(const std::string& path,
                                                    FileAccess access = FileAccess::kMapped);

}  // namespace realm
