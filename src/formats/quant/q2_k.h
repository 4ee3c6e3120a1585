// Q2_K: 256 elements in 16 sub-blocks of 16; value = (d * scale) * q - dmin * min, q in 0..3, scale
// and min in 0..15. 2.625 bits per weight. qs: two halves of 32 bytes, 128 elements each; byte l of
// a half holds elements l, l + 32, l + 64 and l + 96 of that half, from its lowest two bits
// upwards.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ2_K {
  uint8_t scales[16];  // low nibble scale, high nibble min
  uint8_t qs[64];
  uint16_t d;     // fp16
  uint16_t dmin;  // fp16
};
static_assert(sizeof(BlockQ2_K) == 84);

inline constexpr UnpackShape kQ2_KShape{.elements = 256, .sub_block = 16, .has_min = true};

void unpack_q2_k(const void* block, UnpackedBlock& out);
void decode_q2_k(const void* src, float* dst, int64_t num_elements);
void encode_q2_k(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
