// The 12-byte packing of eight 6-bit scales and eight 6-bit minima that Q4_K and Q5_K share.
// Bytes 0..3: scales 0..3 in the low 6 bits; bytes 4..7: minima 0..3 likewise; bytes 8..11: the low
// nibbles of scales 4..7 (low) and minima 4..7 (high), whose upper 2 bits fill bytes 0..3 and 4..7.
#pragma once

#include <cstdint>

namespace realm {

struct KScaleMin {
  uint8_t scale, min;  // 0..63
};

constexpr KScaleMin k_scale_min(const uint8_t (&packed)[12], int j) {
  if (j < 4) {
    return {static_cast<uint8_t>(packed[j] & 63), static_cast<uint8_t>(packed[j + 4] & 63)};
  }
  return {static_cast<uint8_t>((packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4)),
          static_cast<uint8_t>((packed[j + 4] >> 4) | ((packed[j] >> 6) << 4))};
}

constexpr void k_pack_scales(const KScaleMin (&from)[8], uint8_t (&packed)[12]) {
  for (int j = 0; j < 4; ++j) {
    const KScaleMin low = from[j];
    const KScaleMin high = from[j + 4];
    packed[j] = static_cast<uint8_t>(low.scale | ((high.scale >> 4) << 6));
    packed[j + 4] = static_cast<uint8_t>(low.min | ((high.min >> 4) << 6));
    packed[j + 8] = static_cast<uint8_t>((high.scale & 15) | ((high.min & 15) << 4));
  }
}

}  // namespace realm
