// The two 16-entry codebooks and the 8-bit float scales of the 4-bit formats: IQ4_NL's non-linear
// levels (IQ4_NL, IQ4_XS) and E2M1 (MXFP4, NVFP4). Kernels of all backends index these tables.
#pragma once

#include <cstdint>

namespace realm {

inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

// Twice the value of a 4-bit E2M1 float, which makes all of them integers.
inline constexpr int8_t kFp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// E8M0 byte e stands for 2^(e - 127). Half of it, to go with the doubled codebook, as the bits of a
// binary32: e of 0 and 1 give subnormals. 255, NaN in the OCP standard, reads as 2^127 here like in
// other readers of GGUF.
constexpr uint32_t e8m0_half_bits(uint8_t e) {
  return e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23;
}

// E4M3 without sign (bias 7, no infinity) as an integer multiple of 2^-9; NaN (0x7f) reads as 0.
// Bit 7 is not part of the number.
constexpr int32_t ue4m3_in_units(uint8_t byte) {
  const int exponent = (byte >> 3) & 15;
  const int mantissa = byte & 7;
  if (byte == 0x7f) return 0;
  return exponent == 0 ? mantissa : (8 + mantissa) << (exponent - 1);
}

}  // namespace realm
