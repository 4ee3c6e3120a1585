// IQ3_XXS: 256 elements in 8 groups of 32; value = d * (0.5 + scale) / 2 * sign * magnitude, scale
// in 0..15, magnitudes from a codebook of 256 vectors of 4. 3.0625 bits per weight. Unpacked: d / 4
// * (2 scale + 1) * code.
#pragma once

#include <cstdint>

#include "formats/quant/iq_grids.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockIQ3_XXS {
  uint16_t d;                // fp16
  uint8_t qs[64];            // per 4 elements: codebook index
  uint8_t scales_signs[32];  // per group a little-endian word

  // Bits 7 l .. 7 l + 6: signs of elements 8 l .. 8 l + 7 (see iq_even_signs); bits 28..31: the
  // scale.
  constexpr uint32_t signs_and_scale(int group) const {
    const int at = 4 * group;
    return scales_signs[at] | (static_cast<uint32_t>(scales_signs[at + 1]) << 8) |
           (static_cast<uint32_t>(scales_signs[at + 2]) << 16) |
           (static_cast<uint32_t>(scales_signs[at + 3]) << 24);
  }
};
static_assert(sizeof(BlockIQ3_XXS) == 98);

inline constexpr UnpackShape kIQ3_XXSShape{.elements = 256, .sub_block = 32};

void unpack_iq3_xxs(const void* block, UnpackedBlock& out);
void decode_iq3_xxs(const void* src, float* dst, int64_t num_elements);
void encode_iq3_xxs(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
