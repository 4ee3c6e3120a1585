// IQ2_S: 256 elements in 16 sub-blocks of 16; value = d * (0.5 + scale) / 4 * sign * magnitude,
// scale in 0..15, magnitudes from a codebook of 1024 vectors of 8, all 8 signs stored. 2.5625 bits
// per weight. Unpacked: d / 8 * (2 scale + 1) * code.
#pragma once

#include <cstdint>

#include "formats/quant/iq_grids.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockIQ2_S {
  uint16_t d;         // fp16
  uint8_t qs[32];     // per 8 elements: low 8 bits of the codebook index
  uint8_t signs[32];  // per 8 elements: bit j set = element j negative
  uint8_t qh[8];      // per 32 elements: four times the upper 2 bits of an index, lowest first
  uint8_t scales[8];  // per 32 elements: low nibble for the first 16, high for the others

  constexpr uint32_t index(int vector) const {  // of elements 8 vector .. 8 vector + 7
    return qs[vector] | (((qh[vector / 4] >> (2 * (vector % 4))) & 3u) << 8);
  }
};
static_assert(sizeof(BlockIQ2_S) == 82);

inline constexpr UnpackShape kIQ2_SShape{.elements = 256, .sub_block = 16};

void unpack_iq2_s(const void* block, UnpackedBlock& out);
void decode_iq2_s(const void* src, float* dst, int64_t num_elements);
void encode_iq2_s(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
