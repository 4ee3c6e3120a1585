// Q1_0: 128 elements, value = d where bit i % 8 of byte i / 8 is set, else -d. 1.125 bits per
// weight.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ1_0 {
  uint16_t d;  // fp16
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ1_0) == 18);

inline constexpr UnpackShape kQ1_0Shape{.elements = 128, .sub_block = 128};

void unpack_q1_0(const void* block, UnpackedBlock& out);
void decode_q1_0(const void* src, float* dst, int64_t num_elements);
void encode_q1_0(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
