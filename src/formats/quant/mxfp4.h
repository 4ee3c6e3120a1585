// MXFP4 (OCP Microscaling Formats 1.0): 32 E2M1 floats with a power-of-two scale. 4.25 bits per
// weight. Byte j of qs holds element j in its low nibble and element j + 16 in its high one.
// Unpacked: half the scale times the doubled element (kFp4Values).
#pragma once

#include <cstdint>

#include "formats/quant/codebooks.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockMXFP4 {
  uint8_t e;  // E8M0
  uint8_t qs[16];
};
static_assert(sizeof(BlockMXFP4) == 17);

inline constexpr UnpackShape kMXFP4Shape{.elements = 32, .sub_block = 32};

void unpack_mxfp4(const void* block, UnpackedBlock& out);
void decode_mxfp4(const void* src, float* dst, int64_t num_elements);
void encode_mxfp4(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
