// TQ1_0: 256 elements, value = d * (t - 1), t in 0..2. 1.6875 bits per weight.
// A byte holds five ternary digits as ceil(number * 256 / 243), the number's first digit most
// significant: digit n is the upper byte of 3 * ((byte * 3^n) mod 256). Byte m of qs[0..31] holds
// elements m + 32 n, byte m of qs[32..47] elements 160 + m + 16 n, and byte m of qh elements
// 240 + m + 4 n (four digits only).
#pragma once

#include <cstdint>

#include "formats/quant/unpacked.h"

namespace realm {

struct BlockTQ1_0 {
  uint8_t qs[48];
  uint8_t qh[4];
  uint16_t d;  // fp16

  static constexpr int digit(uint8_t byte, int n) {  // 0..2
    constexpr int kPowers[5] = {1, 3, 9, 27, 81};
    return (((byte * kPowers[n]) & 0xff) * 3) >> 8;
  }
  static constexpr uint8_t pack(int digit0, int digit1, int digit2, int digit3, int digit4) {
    const int number = (((digit0 * 3 + digit1) * 3 + digit2) * 3 + digit3) * 3 + digit4;
    return static_cast<uint8_t>((number * 256 + 242) / 243);
  }
};
static_assert(sizeof(BlockTQ1_0) == 54);

inline constexpr UnpackShape kTQ1_0Shape{.elements = 256, .sub_block = 256};

void unpack_tq1_0(const void* block, UnpackedBlock& out);
void decode_tq1_0(const void* src, float* dst, int64_t num_elements);
void encode_tq1_0(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
