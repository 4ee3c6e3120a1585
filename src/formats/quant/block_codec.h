// What the .cpp files of the block formats share: the loop from raw bytes over blocks, and decoding
// derived from unpacking, so that a format states its layout once. Private to this folder.
#pragma once

#include <cstdint>
#include <cstring>

#include "formats/quant/unpacked.h"

namespace realm {

// Blocks are copied out of the source before use: rows in a file may start at any address.
template <typename Block>
Block load_block(const void* src, int64_t index = 0) {
  Block block;
  std::memcpy(&block, static_cast<const char*>(src) + index * static_cast<int64_t>(sizeof(Block)),
              sizeof(Block));
  return block;
}

template <typename Block>
void store_block(const Block& block, void* dst, int64_t index) {
  std::memcpy(static_cast<char*>(dst) + index * static_cast<int64_t>(sizeof(Block)), &block,
              sizeof(Block));
}

template <const UnpackShape& kShape>
void decode_unpacked(const UnpackedBlock& block, float* dst) {
  constexpr int kElementsPerD = kShape.elements / kShape.num_d;
  for (int j = 0; j < kShape.num_scales(); ++j) {
    const int first = j * kShape.sub_block;
    const float scale = block.d[first / kElementsPerD] * static_cast<float>(block.scales[j]);
    if constexpr (kShape.has_min) {
      const float min = block.dmin * static_cast<float>(block.mins[j]);
      for (int i = first; i < first + kShape.sub_block; ++i) {
        dst[i] = scale * static_cast<float>(block.codes[i]) - min;
      }
    } else {
      for (int i = first; i < first + kShape.sub_block; ++i) {
        dst[i] = scale * static_cast<float>(block.codes[i]);
      }
    }
  }
}

template <typename Block, const UnpackShape& kShape, void (*kUnpack)(const Block&, UnpackedBlock&)>
void decode_blocks(const void* src, float* dst, int64_t num_elements) {
  UnpackedBlock unpacked;
  for (int64_t b = 0; b < num_elements / kShape.elements; ++b) {
    kUnpack(load_block<Block>(src, b), unpacked);
    decode_unpacked<kShape>(unpacked, dst + b * kShape.elements);
  }
}

}  // namespace realm
