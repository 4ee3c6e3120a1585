// IQ2_XS: 256 elements in 16 sub-blocks of 16; value = d * (0.5 + scale) / 4 * sign * magnitude,
// scale in 0..15, magnitudes from a codebook of 512 vectors of 8. 2.3125 bits per weight. Unpacked:
// d / 8 * (2 scale + 1) * code.
#pragma once

#include <cstdint>

#include "formats/quant/iq_grids.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockIQ2_XS {
  uint16_t d;         // fp16
  uint16_t qs[32];    // per 8 elements: codebook index (9 bits), then signs (7, see iq_even_signs)
  uint8_t scales[8];  // per 32 elements: low nibble for the first 16, high for the others
};
static_assert(sizeof(BlockIQ2_XS) == 74);

inline constexpr UnpackShape kIQ2_XSShape{.elements = 256, .sub_block = 16};

void unpack_iq2_xs(const void* block, UnpackedBlock& out);
void decode_iq2_xs(const void* src, float* dst, int64_t num_elements);
void encode_iq2_xs(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
