// What the AMX kernels of bfloat16 products share: how tokens lie in tiles.
//
// A product of tiles adds 16 rows of 32 bfloat16 weights times 32 elements of 16 tokens to 16 x 16
// float sums (TDPBF16PS: odd and even elements added up apart, denormals taken as zero). Weight
// rows are the rows, natural order, and tokens the columns, two k side by side, packed once an op.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace realm::cpu::amx {

inline constexpr int kBf16K = 32;       // elements of a row that one product sums over
inline constexpr int kBf16Tokens = 16;  // columns

// Sixteen tokens by 32 elements.
struct alignas(64) Bf16Tokens {
  uint16_t of[kBf16K / 2][kBf16Tokens][2];
};

// How a float is split: into the nearest bfloat16 alone (relative error 2^-8), or into that and the
// nearest one to what is left (2^-17, near the smallest normal numbers 2^-134 at most).
enum class Bf16Parts { kHigh = 1, kHighLow = 2 };

// Static, so that no copy compiled for one instruction set serves another.
static constexpr int64_t bf16_blocks(int64_t k) {
  return (k + kBf16K - 1) / kBf16K;
}
static constexpr int64_t bf16_token_tiles(int64_t num_tokens) {
  return (num_tokens + kBf16Tokens - 1) / kBf16Tokens;
}
// Tiles are [tile of tokens][block of 32 elements][part] in memory.
static constexpr int64_t bf16_tokens_at(int64_t k, int64_t tile, int64_t block, Bf16Parts parts) {
  return (tile * bf16_blocks(k) + block) * static_cast<int64_t>(parts);
}
static constexpr int64_t bf16_tokens_bytes(int64_t num_tokens, int64_t k, Bf16Parts parts) {
  return bf16_tokens_at(k, bf16_token_tiles(num_tokens), 0, parts) *
         static_cast<int64_t>(sizeof(Bf16Tokens));
}

// Packs tokens 16 * tile and following. x: [num_tokens, k], rows `stride` floats apart; `to` holds
// all tiles of bf16_tokens_bytes. Columns past the last token and elements past k are zeros. What
// is infinite or not a number stays so, with nothing left over.
void pack_bf16_tokens(const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t tile,
                      Bf16Parts parts, Bf16Tokens* to);

// The same for 15 or fewer tokens, as tiles of no more columns: [block][part][row][token][2]
// without gaps, `num_tokens` lines of 64 bytes a tile.
void pack_narrow_bf16_tokens(const float* x, int64_t stride, int64_t num_tokens, int64_t k,
                             Bf16Parts parts, uint16_t* to);

}  // namespace realm::cpu::amx
