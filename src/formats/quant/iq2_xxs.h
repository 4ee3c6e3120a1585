// IQ2_XXS: 256 elements in 8 groups of 32; value = d * (0.5 + scale) / 4 * sign * magnitude, scale
// in 0..15, magnitudes from a codebook of 256 vectors of 8. 2.0625 bits per weight. Unpacked: d / 8
// * (2 scale + 1) * code.
#pragma once

#include <cstdint>

#include "formats/quant/iq_grids.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockIQ2_XXS {
  uint16_t d;       // fp16
  uint16_t qs[32];  // per group 8 bytes: four codebook indices, then a 32-bit word

  constexpr uint32_t index(int group, int l) const {  // of elements 8 l .. 8 l + 7 of the group
    return (qs[4 * group + l / 2] >> (8 * (l % 2))) & 0xffu;
  }
  // Bits 7 l .. 7 l + 6: signs of vector l (see iq_even_signs); bits 28..31: the scale.
  constexpr uint32_t signs_and_scale(int group) const {
    return qs[4 * group + 2] | (static_cast<uint32_t>(qs[4 * group + 3]) << 16);
  }
};
static_assert(sizeof(BlockIQ2_XXS) == 66);

inline constexpr UnpackShape kIQ2_XXSShape{.elements = 256, .sub_block = 32};

void unpack_iq2_xxs(const void* block, UnpackedBlock& out);
void decode_iq2_xxs(const void* src, float* dst, int64_t num_elements);
void encode_iq2_xxs(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
