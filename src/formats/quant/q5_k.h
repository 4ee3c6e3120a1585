// Q5_K: 256 elements in 8 sub-blocks of 32; value = (d * scale) * q - dmin * min, q in 0..31, scale
// and min in 0..63. 5.5 bits per weight. qs: the low nibbles, laid out as in Q4_K. qh: the fifth
// bit; element i has bit i / 32 of byte i % 32.
#pragma once

#include <cstdint>

#include "formats/quant/k_scales.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ5_K {
  uint16_t d;          // fp16
  uint16_t dmin;       // fp16
  uint8_t scales[12];  // k_scale_min()
  uint8_t qh[32];
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

inline constexpr UnpackShape kQ5_KShape{.elements = 256, .sub_block = 32, .has_min = true};

void unpack_q5_k(const void* block, UnpackedBlock& out);
void decode_q5_k(const void* src, float* dst, int64_t num_elements);
void encode_q5_k(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
