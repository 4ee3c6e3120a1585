// Codebooks of the IQ1, IQ2 and IQ3 formats: a stored index selects a vector of 8 (IQ1, IQ2) or 4
// (IQ3) small integers, one per byte, the first element in the lowest byte. IQ2 and IQ3 entries are
// magnitudes whose signs are stored apart; IQ1 entries are signed (-1, 0, 1 as int8).
// Read by the decoders here and by the kernels of every backend (a GPU backend uploads them).
#pragma once

#include <cstdint>

namespace realm {

inline constexpr int kIq2Levels[3] = {8, 25, 43};
inline constexpr int kIq3XxsLevels[8] = {4, 12, 20, 28, 36, 44, 52, 62};
inline constexpr int kIq3SLevels[8] = {1, 3, 5, 7, 9, 11, 13, 15};

template <typename Entry, int kCount>
struct IqGrid {
  Entry entries[kCount];
  constexpr Entry operator[](uint32_t index) const { return entries[index]; }
};

extern const IqGrid<uint64_t, 256> kIq2XxsGrid;
extern const IqGrid<uint64_t, 512> kIq2XsGrid;
extern const IqGrid<uint64_t, 1024> kIq2SGrid;
extern const IqGrid<uint64_t, 2048> kIq1Grid;  // IQ1_S and IQ1_M
extern const IqGrid<uint32_t, 256> kIq3XxsGrid;
extern const IqGrid<uint32_t, 512> kIq3SGrid;

// IQ2_XXS, IQ2_XS and IQ3_XXS store 7 of 8 signs (1 = negative): the eighth makes their number
// even.
constexpr uint8_t iq_even_signs(uint32_t stored7) {
  uint32_t parity = stored7 ^ (stored7 >> 4);
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return static_cast<uint8_t>(stored7 | ((parity & 1u) << 7));
}

// Element j of a grid entry with the sign of bit j applied.
constexpr int8_t iq_signed(uint64_t entry, uint32_t signs, int j) {
  const int magnitude = static_cast<int>((entry >> (8 * j)) & 0xff);
  return static_cast<int8_t>((signs >> j) & 1u ? -magnitude : magnitude);
}

}  // namespace realm
