// IQ4_NL: 32 elements, value = d * kIq4Values[q], q in 0..15. 4.5 bits per weight.
// Byte j of qs holds element j in its low nibble and element j + 16 in its high one.
#pragma once

#include <cstdint>

#include "formats/quant/codebooks.h"
#include "formats/quant/unpacked.h"

namespace realm {

struct BlockIQ4_NL {
  uint16_t d;  // fp16
  uint8_t qs[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

inline constexpr UnpackShape kIQ4_NLShape{.elements = 32, .sub_block = 32};

void unpack_iq4_nl(const void* block, UnpackedBlock& out);
void decode_iq4_nl(const void* src, float* dst, int64_t num_elements);
void encode_iq4_nl(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
