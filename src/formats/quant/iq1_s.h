// IQ1_S: 256 elements in 8 groups of 32; value = d * (2 scale + 1) * (g + delta), scale in 0..7, g
// in -1..1 from a codebook of 2048 vectors of 8, delta +1/8 or -1/8 for the whole group. 1.5625
// bits per weight. Unpacked: d / 8 * (2 scale + 1) * (8 g +- 1).
#pragma once

#include <cstdint>

#include "formats/quant/iq_grids.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockIQ1_S {
  uint16_t d;      // fp16
  uint8_t qs[32];  // per 8 elements: low 8 bits of the codebook index
  uint16_t
      qh[8];  // per group: bits 3 l .. 3 l + 2 upper bits of index l, 12..14 scale, 15 delta < 0

  constexpr uint32_t index(int vector) const {  // of elements 8 vector .. 8 vector + 7
    return qs[vector] | (((qh[vector / 4] >> (3 * (vector % 4))) & 7u) << 8);
  }
  constexpr int scale(int group) const { return 2 * ((qh[group] >> 12) & 7) + 1; }
  constexpr bool delta_negative(int group) const { return (qh[group] & 0x8000u) != 0; }
};
static_assert(sizeof(BlockIQ1_S) == 50);

inline constexpr UnpackShape kIQ1_SShape{.elements = 256, .sub_block = 32};

void unpack_iq1_s(const void* block, UnpackedBlock& out);
void decode_iq1_s(const void* src, float* dst, int64_t num_elements);
void encode_iq1_s(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
