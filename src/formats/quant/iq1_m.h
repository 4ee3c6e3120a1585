// IQ1_M: 256 elements in 16 sub-blocks of 16; value = d * (2 scale + 1) * (g + delta), scale in
// 0..7, g in -1..1 from the codebook of IQ1_S, delta +1/8 or -1/8 per 8 elements. 1.75 bits per
// weight. Unpacked: d / 8 * (2 scale + 1) * (8 g +- 1).
#pragma once

#include <cstdint>

#include "formats/quant/iq_grids.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockIQ1_M {
  uint8_t qs[32];     // per 8 elements: low 8 bits of the codebook index
  uint8_t qh[16];     // per 8 elements a nibble: upper 3 bits of the index, then delta < 0
  uint8_t scales[8];  // four little-endian 16-bit words: 3-bit scales below, 4 bits of d on top

  constexpr uint32_t scale_word(int w) const {
    return scales[2 * w] | (static_cast<uint32_t>(scales[2 * w + 1]) << 8);
  }
  constexpr uint16_t d() const {  // fp16, a nibble from each word, lowest first
    return static_cast<uint16_t>((scale_word(0) >> 12) | ((scale_word(1) >> 12) << 4) |
                                 ((scale_word(2) >> 12) << 8) | ((scale_word(3) >> 12) << 12));
  }
  constexpr int scale(int sub_block) const {
    return 2 * static_cast<int>((scale_word(sub_block / 4) >> (3 * (sub_block % 4))) & 7u) + 1;
  }
  constexpr uint32_t index(int vector) const {  // of elements 8 vector .. 8 vector + 7
    return qs[vector] | (((qh[vector / 2] >> (4 * (vector % 2))) & 7u) << 8);
  }
  constexpr bool delta_negative(int vector) const {
    return ((qh[vector / 2] >> (4 * (vector % 2))) & 8) != 0;
  }
};
static_assert(sizeof(BlockIQ1_M) == 56);

inline constexpr UnpackShape kIQ1_MShape{.elements = 256, .sub_block = 16};

void unpack_iq1_m(const void* block, UnpackedBlock& out);
void decode_iq1_m(const void* src, float* dst, int64_t num_elements);
void encode_iq1_m(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
