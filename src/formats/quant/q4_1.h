// Q4_1: 32 elements, value = d * q + m, q in 0..15. 5 bits per weight.
// Byte j of qs holds element j in its low nibble and element j + 16 in its high one.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ4_1 {
  uint16_t d;  // fp16
  uint16_t m;  // fp16, the value of q = 0
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

inline constexpr UnpackShape kQ4_1Shape{.elements = 32, .sub_block = 32, .has_min = true};

void unpack_q4_1(const void* block, UnpackedBlock& out);
void decode_q4_1(const void* src, float* dst, int64_t num_elements);
void encode_q4_1(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
