// Q4_K: 256 elements in 8 sub-blocks of 32; value = (d * scale) * q - dmin * min, q in 0..15, scale
// and min in 0..63. 4.5 bits per weight. qs: four runs of 32 bytes, 64 elements each; byte l of run
// r holds elements 64 r + l (low nibble) and 64 r + 32 + l (high nibble).
#pragma once

#include <cstdint>

#include "formats/quant/k_scales.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ4_K {
  uint16_t d;          // fp16
  uint16_t dmin;       // fp16
  uint8_t scales[12];  // k_scale_min()
  uint8_t qs[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

inline constexpr UnpackShape kQ4_KShape{.elements = 256, .sub_block = 32, .has_min = true};

void unpack_q4_k(const void* block, UnpackedBlock& out);
void decode_q4_k(const void* src, float* dst, int64_t num_elements);
void encode_q4_k(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
