// Eight-bit floats of 1 sign, 4 exponent (bias 7) and 3 mantissa bits: E4M3 of the Open Compute
// Project's 8-bit floating point specification (2023). No infinity; the codes of all ones are not a
// number; the largest is 448, the least 2^-9. A type of the KV cache only: no file holds it, so
// that its id lies beyond GGUF's and the formats that files may hold (block_formats) leave it out.
#pragma once

#include <bit>
#include <cstdint>

#include "formats/dtype.h"

namespace realm {

inline constexpr DType kF8E4M3{uint32_t{1} << 16};

// Exact.
inline float e4m3_to_float(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24, magnitude = code & 0x7fu;
  if (magnitude == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (magnitude < 8) {
    const float value = static_cast<float>(magnitude) * 0x1p-9f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
  }
  return std::bit_cast<float>(sign | ((magnitude << 20) + 0x3c000000u));
}

// Round to nearest even; what exceeds the range becomes the largest number of its sign, not a
// number stays so (satfinite of NVIDIA's conversions).
inline uint8_t float_to_e4m3(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (bits >> 24) & 0x80u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) return static_cast<uint8_t>(sign | 0x7eu);  // >= 448
  if (magnitude < 0x3c800000u) {                                            // < 2^-6
    // Adding 2^14 aligns the value's last bit with 2^-9.
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x46800000u));
  }
  const uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1u);
  return static_cast<uint8_t>(sign | ((rounded - 0x3c000000u) >> 20));
}

void decode_f8_e4m3(const void* src, float* dst, int64_t num_elements);
// Importance has no effect.
void encode_f8_e4m3(const float* src, void* dst, int64_t num_elements, const float* importance);

}  // namespace realm
