// Q2_0: 64 elements, value = d * (q - 1), q in 0..3. 2.25 bits per weight.
// Byte j of qs holds elements 4 j .. 4 j + 3, from its lowest two bits upwards.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ2_0 {
  uint16_t d;  // fp16
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ2_0) == 18);

inline constexpr UnpackShape kQ2_0Shape{.elements = 64, .sub_block = 64};

void unpack_q2_0(const void* block, UnpackedBlock& out);
void decode_q2_0(const void* src, float* dst, int64_t num_elements);
void encode_q2_0(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
