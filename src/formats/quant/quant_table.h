// The table of block formats: one row each, from the format's own header. Everything that must know
// about formats (readers, matmul, quantize, inspect) walks this table; nothing switches on DType.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "formats/dtype.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockFormat {
  DType type;
  const char* name;    // as GGUF users write it: "Q4_K", "IQ4_XS", "F16"
  int block_elements;  // elements in one block; a row holds a whole number of blocks
  int block_bytes;     // bytes of one block
  // Decodes num_elements (a multiple of block_elements) from src into dst.
  void (*decode)(const void* src, float* dst, int64_t num_elements);
  // Encodes one row; importance is null or num_elements non-negative weights (from an importance
  // matrix). Null where the format is only ever an activation or has no encoder.
  void (*encode)(const float* src, void* dst, int64_t num_elements, const float* importance);
  bool needs_importance;  // encode refuses (at the caller) without an importance matrix
  // The block's integers and factors, from which decode's values follow (unpacked.h). Null for F32,
  // F16 and BF16, whose shape has no elements.
  void (*unpack)(const void* block, UnpackedBlock& out);
  UnpackShape shape;
};

// Every format, ordered by type id.
std::span<const BlockFormat> block_formats();
// Null for an id that is not in the table (also for retired ids read from a file).
const BlockFormat* find_block_format(DType type);
const BlockFormat* find_block_format(std::string_view name);  // exact or lower-case name

// Bytes of a row of num_elements; num_elements must be a multiple of block_elements.
inline size_t row_bytes(const BlockFormat& format, int64_t num_elements) {
  return static_cast<size_t>(num_elements / format.block_elements) *
         static_cast<size_t>(format.block_bytes);
}

}  // namespace realm
