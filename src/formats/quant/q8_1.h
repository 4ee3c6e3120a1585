// Q8_1: Q8_0 with the scaled sum of the codes beside it, for products with formats that have a
// minimum. An activation format; a file may hold it all the same. Decoding ignores the sum.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ8_1 {
  uint16_t d;  // fp16
  uint16_t s;  // fp16: d * (sum of qs)
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_1) == 36);

inline constexpr UnpackShape kQ8_1Shape{.elements = 32, .sub_block = 32};

void unpack_q8_1(const void* block, UnpackedBlock& out);
void decode_q8_1(const void* src, float* dst, int64_t num_elements);
void encode_q8_1(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
