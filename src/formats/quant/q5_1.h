// Q5_1: 32 elements, value = d * q + m, q in 0..31. 6 bits per weight.
// Low 4 bits as in Q4_1; bit i of qh, read as a little-endian 32-bit number, is bit 4 of element i.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ5_1 {
  uint16_t d;  // fp16
  uint16_t m;  // fp16, the value of q = 0
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

inline constexpr UnpackShape kQ5_1Shape{.elements = 32, .sub_block = 32, .has_min = true};

void unpack_q5_1(const void* block, UnpackedBlock& out);
void decode_q5_1(const void* src, float* dst, int64_t num_elements);
void encode_q5_1(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
