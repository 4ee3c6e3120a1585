// Q3_K: 256 elements in 16 sub-blocks of 16; value = (d * (scale - 32)) * (q - 4), q in 0..7, scale
// in 0..63. 3.4375 bits per weight. qs: the low two bits, laid out as in Q2_K. hmask: the third
// bit; element i has bit i / 32 of byte i % 32.
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];  // 6 bits each, see scale()
  uint16_t d;          // fp16

  // Scale of sub-block j, -32..31: low 4 bits in the nibbles of bytes 0..7 (low nibbles j = 0..7,
  // high nibbles j = 8..15), high 2 bits in bytes 8..11 (byte j % 4, bit pair j / 4).
  constexpr int scale(int j) const {
    const int low = (scales[j % 8] >> (j < 8 ? 0 : 4)) & 15;
    const int high = (scales[8 + j % 4] >> (2 * (j / 4))) & 3;
    return (low | (high << 4)) - 32;
  }
  constexpr void set_scale(int j, int scale) {  // where scales were zero before
    const int stored = scale + 32;
    scales[j % 8] |= static_cast<uint8_t>((stored & 15) << (j < 8 ? 0 : 4));
    scales[8 + j % 4] |= static_cast<uint8_t>((stored >> 4) << (2 * (j / 4)));
  }
};
static_assert(sizeof(BlockQ3_K) == 110);

inline constexpr UnpackShape kQ3_KShape{.elements = 256, .sub_block = 16};

void unpack_q3_k(const void* block, UnpackedBlock& out);
void decode_q3_k(const void* src, float* dst, int64_t num_elements);
void encode_q3_k(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
