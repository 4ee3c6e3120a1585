// safetensors files (github.com/huggingface/safetensors): a JSON header and one buffer, mapped.
// Tensor names stay as the checkpoint has them; hf/ maps them to GGUF's.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/file.h"
#include "formats/tensor_directory.h"

namespace realm {

// Opens one .safetensors file. The header's `__metadata__` strings become the metadata.
// Views may be less aligned than their element type: the format guarantees nothing. Errors:
// kNotFound, kIo; kBadModel with file and tensor for anything malformed, for gaps and overlaps, and
// for an element type other than F32, F16, BF16, F64 or a signed integer.
Result<std::unique_ptr<TensorDirectory>> open_safetensors(const std::string& path,
                                                          FileAccess access = FileAccess::kMapped);

// Opens the files that a model.safetensors.index.json names, which lie beside it.
Result<std::unique_ptr<TensorDirectory>> open_safetensors_index(
    const std::string& path, FileAccess access = FileAccess::kMapped);

// The same as open_safetensors over memory that outlives the result.
Result<std::unique_ptr<TensorDirectory>> parse_safetensors(std::span<const std::byte> bytes,
                                                           const std::string& label);

}  // namespace realm
