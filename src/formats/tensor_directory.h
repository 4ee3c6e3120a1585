// What a model file offers the rest of Realm, whatever its format: metadata, and named tensors
// whose bytes are views into memory (a mapping, or the program's own read-only data) kept alive by
// this object. gguf.h and safetensors.h produce it; models/ consumes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/dtype.h"
#include "formats/metadata.h"

namespace realm {

struct TensorInfo {
  std::string name;
  DType dtype;
  // Outermost dimension first: a weight of GGUF dims {in, out} has shape {out, in}. Rank 1..4.
  std::vector<int64_t> shape;
  std::span<const std::byte> data;

  int64_t num_elements() const;
};

// Bytes of a tensor of any type of dtype.h, block format or plain number. Errors (kBadModel): rank
// not 1..4, a dimension below 1, a row that is not a whole number of blocks, a size beyond 2^62.
Result<size_t> tensor_bytes(DType type, const std::vector<int64_t>& shape);
bool is_known_dtype(DType type);
std::string dtype_name(DType type);                         // "F32", "Q4_K"
std::string shape_text(const std::vector<int64_t>& shape);  // "[4096, 1024]"

// A name out of a file, quoted for a message: of bounded length and without control characters.
std::string quoted_name(std::string_view name);

class TensorDirectory {
 public:
  const Metadata& metadata() const { return metadata_; }
  Metadata& metadata() { return metadata_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo* find(std::string_view name) const;

  // Error kBadModel where the name is already there.
  Status add(TensorInfo tensor);
  // Keeps the memory behind the tensors' views alive.
  void retain(std::shared_ptr<const void> owner) { owners_.push_back(std::move(owner)); }

 private:
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::vector<std::shared_ptr<const void>> owners_;
};

}  // namespace realm
