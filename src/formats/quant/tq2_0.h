// TQ2_0: 256 elements, value = d * (t - 1), t in 0..3 (an encoder writes 0..2). 2.0625 bits per
// weight. qs is laid out as in Q2_K.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockTQ2_0 {
  uint8_t qs[64];
  uint16_t d;  // fp16
};
static_assert(sizeof(BlockTQ2_0) == 66);

inline constexpr UnpackShape kTQ2_0Shape{.elements = 256, .sub_block = 256};

void unpack_tq2_0(const void* block, UnpackedBlock& out);
void decode_tq2_0(const void* src, float* dst, int64_t num_elements);
void encode_tq2_0(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
