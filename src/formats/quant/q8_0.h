// Q8_0: 32 elements, value = d * q, q in -127..127 (-128 is legal). 8.5 bits per weight. Also a
// KV-cache format, and the form in which activations meet weights of 32-element formats.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ8_0 {
  uint16_t d;  // fp16
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

inline constexpr UnpackShape kQ8_0Shape{.elements = 32, .sub_block = 32};

void unpack_q8_0(const void* block, UnpackedBlock& out);
void decode_q8_0(const void* src, float* dst, int64_t num_elements);
void encode_q8_0(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
