// Q5_0: 32 elements, value = d * (q - 16), q in 0..31. 5.5 bits per weight.
// Low 4 bits as in Q4_0; bit i of qh, read as a little-endian 32-bit number, is bit 4 of element i.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ5_0 {
  uint16_t d;  // fp16
  uint8_t qh[4];
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

inline constexpr UnpackShape kQ5_0Shape{.elements = 32, .sub_block = 32};

void unpack_q5_0(const void* block, UnpackedBlock& out);
void decode_q5_0(const void* src, float* dst, int64_t num_elements);
void encode_q5_0(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
