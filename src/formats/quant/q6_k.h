// Q6_K: 256 elements in 16 sub-blocks of 16; value = (d * scale) * (q - 32), q in 0..63. 6.5625
// bits per weight. Two halves of 128 elements, each with 64 bytes of ql and 32 of qh. In a half,
// byte l (0..31) of ql holds the low nibbles of elements l (low) and l + 64 (high), byte l + 32
// those of l + 32 and l + 96; byte l of qh holds the upper two bits of elements l, l + 32, l + 64,
// l + 96, from the lowest up.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;  // fp16
};
static_assert(sizeof(BlockQ6_K) == 210);

inline constexpr UnpackShape kQ6_KShape{.elements = 256, .sub_block = 16};

void unpack_q6_k(const void* block, UnpackedBlock& out);
void decode_q6_k(const void* src, float* dst, int64_t num_elements);
void encode_q6_k(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
