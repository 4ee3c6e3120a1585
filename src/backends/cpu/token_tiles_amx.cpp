// Tokens as the columns of tiles (matmul_amx.h).
#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "backends/cpu/matmul_amx.h"
#include "backends/cpu/transpose_avx512.h"

namespace realm::cpu::amx {
namespace {

// `k` elements of tokens x, k a multiple of 32. Columns past the last token are zeros, which no
// result depends on.
void pack_codes(const int8_t* x, int64_t stride, int count, int64_t k, int8_t (*to)[kTile][4]) {
  for (int64_t at = 0; at < k; at += 64) {
    const __mmask64 some = k - at < 64 ? ~__mmask64{0} >> 32 : ~__mmask64{0};
    __m512i rows[kTile];
    for (int t = 0; t < kTile; ++t) {
      rows[t] =
          t < count ? _mm512_maskz_loadu_epi8(some, x + t * stride + at) : _mm512_setzero_si512();
    }
    transpose_16x16(rows);
    for (int q = 0; q < 16; ++q) _mm512_store_si512(to[at / 4 + q], rows[q]);
  }
}

int32_t pair(int first, int second) {
  return static_cast<int32_t>(static_cast<uint16_t>(first) | (static_cast<uint32_t>(second) << 16));
}

// Tokens from `first` on, elements from `begin` on.
void pack_super(const QuantizedTokens& x, int64_t first, int count, int64_t begin,
                SuperTokens& to) {
  pack_codes(x.codes + first * x.k + begin, x.k, count, 256, to.codes);
  if (count < kTile) memset(to.scales, 0, sizeof(to) - offsetof(SuperTokens, scales));
  for (int t = 0; t < count; ++t) {
    to.scales[t] = x.scales[((first + t) * x.k + begin) / 256];
    const int16_t* s = x.sums + ((first + t) * x.k + begin) / 16;
    for (int p = 0; p < 8; ++p) to.sums_16[p][t] = pair(s[2 * p], s[2 * p + 1]);
    for (int p = 0; p < 4; ++p) {
      to.sums_32[p][t] = pair(s[4 * p] + s[4 * p + 1], s[4 * p + 2] + s[4 * p + 3]);
    }
  }
}

void pack_small(const QuantizedTokens& x, int64_t first, int count, int64_t begin,
                SmallTokens& to) {
  const int64_t k = x.k - begin < kSmallK ? x.k - begin : kSmallK;
  pack_codes(x.codes + first * x.k + begin, x.k, count, k, to.codes);
  if (count < kTile) memset(to.scales, 0, sizeof(to) - offsetof(SmallTokens, scales));
  for (int t = 0; t < count; ++t) {
    const float* scales = x.scales + ((first + t) * x.k + begin) / 32;
    const int16_t* sums = x.sums + ((first + t) * x.k + begin) / 16;
    for (int64_t g = 0; g < k / 32; ++g) {
      to.scales[g][t] = scales[g];
      to.weighted[g][t] = scales[g] * static_cast<float>(sums[2 * g] + sums[2 * g + 1]);
    }
  }
}

template <typename Tokens, int kElements,
          void kPack(const QuantizedTokens&, int64_t, int, int64_t, Tokens&)>
constexpr TokenLayout layout_of() {
  return {.tile_tokens = kTile,
          .bytes =
              [](int64_t num_tokens, int64_t k) {
                return token_tiles(num_tokens) * ((k + kElements - 1) / kElements) *
                       static_cast<int64_t>(sizeof(Tokens));
              },
          .pack =
              [](const QuantizedTokens& x, int64_t num_tokens, int64_t tile, std::byte* to) {
                auto* tokens = reinterpret_cast<Tokens*>(to) + tile;
                const int64_t first = tile * kTile, left = num_tokens - first;
                const int count = left < kTile ? static_cast<int>(left) : kTile;
                for (int64_t begin = 0; begin < x.k; begin += kElements) {
                  kPack(x, first, count, begin, *tokens);
                  tokens += token_tiles(num_tokens);
                }
              }};
}

}  // namespace

const TokenLayout* token_layout(bool super) {
  static constexpr TokenLayout of_super = layout_of<SuperTokens, 256, pack_super>();
  static constexpr TokenLayout of_small = layout_of<SmallTokens, kSmallK, pack_small>();
  return super ? &of_super : &of_small;
}

}  // namespace realm::cpu::amx
