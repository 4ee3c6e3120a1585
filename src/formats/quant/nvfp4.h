// NVFP4: 64 E2M1 floats in 4 sub-blocks of 16, each with an E4M3 scale. 4.5 bits per weight. (The
// float scale per tensor that goes with it is a tensor of its own in the file.) qs: 8 bytes per
// sub-block; byte j holds its element j (low nibble) and j + 8 (high nibble). Unpacked: half the
// scale times the doubled element (kFp4Values), one d per sub-block, scales 1.
#pragma once

#include <cstdint>

#include "formats/quant/codebooks.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockNVFP4 {
  uint8_t d[4];  // unsigned E4M3
  uint8_t qs[32];
};
static_assert(sizeof(BlockNVFP4) == 36);

inline constexpr UnpackShape kNVFP4Shape{.elements = 64, .sub_block = 16, .num_d = 4};

void unpack_nvfp4(const void* block, UnpackedBlock& out);
void decode_nvfp4(const void* src, float* dst, int64_t num_elements);
void encode_nvfp4(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
