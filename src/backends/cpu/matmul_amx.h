// What the AMX kernel files share: how weights and tokens lie in tiles.
//
// A product of tiles adds 16 rows of up to 64 bytes times 64 bytes of 16 columns to 16 x 16 sums of
// 32 bits. Weight rows are the rows, as they come from the blocks, and tokens the columns, packed
// four k together once an op, so that nothing is turned per weight.
#pragma once

#include <stdint.h>

#include "backends/cpu/matmul_kernels.h"

namespace realm::cpu::amx {

inline constexpr int kTile = 16;  // weight rows or tokens of a tile

// Sixteen weight rows by 256 elements of a format whose blocks have that many. A code times its
// sub-block's integer scale is one or two digits of a byte each (super_digits_amx.h), so that one
// chain of products a digit sums over the whole block.
struct alignas(64) SuperTile {
  int8_t digits[2][4][kTile][64];
  float d[kTile];
  float dmin[kTile];
  int32_t mins[kTile][8];  // of sub-blocks, as pairs of 16 bits
};

// Sixteen rows by up to kSmallK elements of a format with smaller blocks.
inline constexpr int kSmallK = 512;
struct alignas(64) SmallTile {
  int8_t codes[kTile * kSmallK];       // see small_codes_at
  float factors[kSmallK / 16][kTile];  // d * scale, per sub-block
  float minima[kSmallK / 32][kTile];   // -dmin * min, to be added
};

// Where a sub-block's codes begin and how far apart its rows are. Sub-blocks of 32 lie in pairs,
// whose rows fill a register.
template <int kSub>
constexpr int64_t small_codes_at(int64_t sub) {
  return kSub == 32 ? sub / 2 * kTile * 64 + sub % 2 * 32 : sub * kTile * kSub;
}
template <int kSub>
inline constexpr int64_t kSmallStride = kSub == 32 ? 64 : kSub;

// Sixteen tokens by a block of 256; [block][tile of tokens] in memory.
struct alignas(64) SuperTokens {
  int8_t codes[64][kTile][4];
  float scales[kTile];
  int32_t sums_16[8][kTile];  // pairs of 16-bit sums of codes, over 16 elements each
  int32_t sums_32[4][kTile];  // over 32
};

// Sixteen tokens by a stretch of kSmallK elements; [stretch][tile of tokens].
struct alignas(64) SmallTokens {
  int8_t codes[kSmallK / 4][kTile][4];
  float scales[kSmallK / 32][kTile];
  float weighted[kSmallK / 32][kTile];  // scale times sum of codes
};

inline int64_t token_tiles(int64_t num_tokens) {
  return (num_tokens + kTile - 1) / kTile;
}
const TokenLayout* token_layout(bool super);

// dot() of the formats in stretches of 256 (stretch_amx.h).
void dot_by_stretches(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                      float* out, int64_t out_stride);

// Of BF16 weights, where has_bf16_tiles().
const FloatPanel* bf16_panel();

}  // namespace realm::cpu::amx
