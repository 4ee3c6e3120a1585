// GGUF v2 and v3 (github.com/ggml-org/ggml, docs/gguf.md): reading by mapping, writing, split
// files.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/file.h"
#include "formats/tensor_directory.h"

namespace realm {

// Opens a GGUF file. For the first file of a split model ("-00001-of-00003.gguf", or any part with
// split.count > 1) the other parts are opened beside it and their tensors merged.
// Errors: kNotFound, kIo; kBadModel with file, offset and field for anything malformed.
Result<std::unique_ptr<TensorDirectory>> open_gguf(const std::string& path,
                                                   FileAccess access = FileAccess::kMapped);

// The same over memory that outlives the result (the embedded model; fuzzing). No split files.
// `label` names the source in error messages.
Result<std::unique_ptr<TensorDirectory>> parse_gguf(std::span<const std::byte> bytes,
                                                    const std::string& label);

// One tensor to be written: its bytes are produced on demand, so that a converter never holds the
// whole model in memory.
struct GgufTensorSource {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;  // outermost first
  // Appends exactly the tensor's bytes through the given sink.
  std::function<Status(const std::function<Status(std::span<const std::byte>)>& sink)> produce;
};

// Writes GGUF v3, 32-byte alignment (or general.alignment where set). The file appears whole or not
// at all. on_tensor, where given, is called before each tensor (index, count) for progress.
Status write_gguf(const std::string& path, const Metadata& metadata,
                  const std::vector<GgufTensorSource>& tensors,
                  const std::function<void(size_t, size_t)>& on_tensor = {});

}  // namespace realm
