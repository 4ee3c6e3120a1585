#include "formats/tensor_directory.h"

#include <limits>

#include "formats/quant/f8_e4m3.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

// Element types that are plain numbers and need no codec, and so may be absent from the table of
// block formats.
size_t plain_bytes(DType type) {
  switch (type) {
    case DType::kI8:
      return 1;
    case DType::kI16:
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kI32:
    case DType::kF32:
      return 4;
    case DType::kI64:
    case DType::kF64:
      return 8;
    default:
      return 0;
  }
}

const char* plain_name(DType type) {
  switch (type) {
    case DType::kI8:
      return "I8";
    case DType::kI16:
      return "I16";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
    case DType::kF64:
      return "F64";
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    default:
      return nullptr;
  }
}

// Null for what only the KV cache has.
const BlockFormat* find_file_format(DType type) {
  return type == kF8E4M3 ? nullptr : find_block_format(type);
}

Error bad(std::string message) {
  return Error{ErrorCode::kBadModel, std::move(message)};
}

}  // namespace

std::string quoted_name(std::string_view name) {
  constexpr size_t kMaxShown = 80;
  std::string out = "'";
  for (const char c : name.substr(0, kMaxShown)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out + (name.size() > kMaxShown ? "...'" : "'");
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

bool is_known_dtype(DType type) {
  return plain_bytes(type) != 0 || find_file_format(type) != nullptr;
}

std::string dtype_name(DType type) {
  if (const char* name = plain_name(type)) return name;
  if (const BlockFormat* format = find_block_format(type)) return format->name;
  return "type " + std::to_string(static_cast<uint32_t>(type));
}

Result<size_t> tensor_bytes(DType type, const std::vector<int64_t>& shape) {
  if (shape.empty() || shape.size() > 4) {
    return bad("rank " + std::to_string(shape.size()) + " is not in 1..4");
  }
  uint64_t block_elements = 1;
  uint64_t block_bytes = plain_bytes(type);
  if (block_bytes == 0) {
    const BlockFormat* format = find_file_format(type);
    if (format == nullptr) {
      return bad("type id " + std::to_string(static_cast<uint32_t>(type)) + " is not known");
    }
    block_elements = static_cast<uint64_t>(format->block_elements);
    block_bytes = static_cast<uint64_t>(format->block_bytes);
  }
  // Below 2^62 elements and 2^62 bytes, so that sums with offsets cannot wrap either.
  constexpr uint64_t kLimit = uint64_t{1} << 62;
  uint64_t elements = 1;
  for (const int64_t dim : shape) {
    if (dim <= 0) return bad("shape " + shape_text(shape) + " has a dimension below 1");
    if (static_cast<uint64_t>(dim) > kLimit / elements) {
      return bad("shape " + shape_text(shape) + " has too many elements for 64 bits");
    }
    elements *= static_cast<uint64_t>(dim);
  }
  if (static_cast<uint64_t>(shape.back()) % block_elements != 0) {
    return bad("row of " + std::to_string(shape.back()) + " elements is not a multiple of " +
               dtype_name(type) + "'s block of " + std::to_string(block_elements));
  }
  const uint64_t blocks = elements / block_elements;
  if (blocks > kLimit / block_bytes) {
    return bad("shape " + shape_text(shape) + " has too many bytes for 64 bits");
  }
  return static_cast<size_t>(blocks * block_bytes);
}

int64_t TensorInfo::num_elements() const {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

const TensorInfo* TensorDirectory::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

Status TensorDirectory::add(TensorInfo tensor) {
  if (!index_.emplace(tensor.name, tensors_.size()).second) {
    return bad("tensor " + quoted_name(tensor.name) + " is there twice");
  }
  tensors_.push_back(std::move(tensor));
  return {};
}

}  // namespace realm
