// IQ4_XS: 256 elements in 8 groups of 32; value = (d * (scale - 32)) * kIq4Values[q], scale in
// 0..63, q in 0..15. 4.25 bits per weight. qs: 16 bytes per group, laid out as in IQ4_NL.
#pragma once

#include <cstdint>

#include "formats/quant/codebooks.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockIQ4_XS {
  uint16_t d;           // fp16
  uint16_t scales_h;    // upper 2 bits of the scales, group 0 lowest
  uint8_t scales_l[4];  // lower 4 bits, even groups in the low nibbles
  uint8_t qs[128];

  constexpr int scale(int group) const {  // -32..31
    return (((scales_l[group / 2] >> (4 * (group % 2))) & 15) |
            (((scales_h >> (2 * group)) & 3) << 4)) -
           32;
  }
};
static_assert(sizeof(BlockIQ4_XS) == 136);

inline constexpr UnpackShape kIQ4_XSShape{.elements = 256, .sub_block = 32};

void unpack_iq4_xs(const void* block, UnpackedBlock& out);
void decode_iq4_xs(const void* src, float* dst, int64_t num_elements);
void encode_iq4_xs(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
