// IQ3_S: 256 elements in 8 groups of 32; value = d * (1 + 2 scale) * sign * magnitude, scale in
// 0..15, magnitudes from a codebook of 512 vectors of 4, all signs stored. 3.4375 bits per weight.
#pragma once

#include <cstdint>

#include "formats/quant/iq_grids.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockIQ3_S {
  uint16_t d;         // fp16
  uint8_t qs[64];     // per 4 elements: low 8 bits of the codebook index
  uint8_t qh[8];      // per 32 elements: bit v is the ninth bit of its index v
  uint8_t signs[32];  // bit i % 8 of byte i / 8 set = element i negative
  uint8_t scales[4];  // per 64 elements: low nibble for the first 32, high for the others

  constexpr uint32_t index(int vector) const {  // of elements 4 vector .. 4 vector + 3
    return qs[vector] | (((qh[vector / 8] >> (vector % 8)) & 1u) << 8);
  }
};
static_assert(sizeof(BlockIQ3_S) == 110);

inline constexpr UnpackShape kIQ3_SShape{.elements = 256, .sub_block = 32};

void unpack_iq3_s(const void* block, UnpackedBlock& out);
void decode_iq3_s(const void* src, float* dst, int64_t num_elements);
void encode_iq3_s(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
