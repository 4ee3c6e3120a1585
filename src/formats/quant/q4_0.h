// Q4_0: 32 elements, value = d * (q - 8), q in 0..15. 4.5 bits per weight.
// Byte j of qs holds element j in its low nibble and element j + 16 in its high one.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ4_0 {
  uint16_t d;  // fp16
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

inline constexpr UnpackShape kQ4_0Shape{.elements = 32, .sub_block = 32};

void unpack_q4_0(const void* block, UnpackedBlock& out);
void decode_q4_0(const void* src, float* dst, int64_t num_elements);
void encode_q4_0(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
