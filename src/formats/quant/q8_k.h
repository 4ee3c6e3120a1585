// Q8_K: 256 elements, value = d * q, with a float scale and sums per 16 codes. An activation format
// for products with the 256-element formats; a file may hold it all the same. Decoding ignores the
// sums.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ8_K {
  float d;
  int8_t qs[256];
  int16_t bsums[16];  // bsums[j] = sum of qs[16 j .. 16 j + 15]
};
static_assert(sizeof(BlockQ8_K) == 292);

inline constexpr UnpackShape kQ8_KShape{.elements = 256, .sub_block = 256};

void unpack_q8_k(const void* block, UnpackedBlock& out);
void decode_q8_k(const void* src, float* dst, int64_t num_elements);
void encode_q8_k(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
