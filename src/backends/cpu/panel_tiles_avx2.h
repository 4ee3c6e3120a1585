// What the AVX2 panel products of small and super formats (panel_small_avx2.cpp,
// panel_super_avx2.cpp) share: tokens packed into tiles, the integer part, and the walk of all
// tokens over a panel, six at a time, whose elements are broadcast. There are no horizontal
// operations, and each output's accumulator is a lane. The including file defines
// Product<L>::run<kTokens>, which continues the sums of a tile, and Product<L>::begin, which
// prepares a panel.
//
// The integer part has two forms. Bytes: pairs of products in 16 bits (vpmaddubsw), of which kDepth
// fit before they must be widened; one operand has to be unsigned, either the weights or, where a
// code's offset would otherwise have to be multiplied by each scale, the activations (x + 128,
// whose excess is the same for all tokens and is subtracted at the start). Words, for codes that
// need all 8 bits: 16-bit weights, already times their integer scales, and vpmaddwd.
//
// Limits per core and cycle with two multiplies: 64 products in bytes, 32 in words. Tokens stream
// from the second-level cache or beyond, 1.5 (3) KB for about 1000 (2000) cycles of work.
#pragma once

#include <immintrin.h>
#include <string.h>

#include "backends/cpu/panel_avx2.h"

#define REALM_INLINE static inline __attribute__((always_inline))

namespace realm::cpu::avx2 {
namespace {

REALM_INLINE __m256i load_vector(const void* p) {
  return _mm256_load_si256(static_cast<const __m256i*>(p));
}
REALM_INLINE __m256i broadcast_32(const void* p) {
  int32_t x;
  memcpy(&x, p, 4);
  return _mm256_set1_epi32(x);
}

// Keeps a running sum as it is: GCC would otherwise gather all additions behind all products, which
// then do not fit the registers.
REALM_INLINE void pin(__m256i& sum) {
  asm("" : "+x"(sum));
}

// ---- tokens into a tile ----

template <typename L>
void pack_token(TokenTile<L>& tile, int t, const QuantizedTokens& x, int64_t at, int groups) {
  const int8_t* codes = x.codes + at;
  const int16_t* sums = x.sums + at / 16;
  for (int g = 0; g < groups; ++g) {
    const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 32 * g));
    __m256i* to = reinterpret_cast<__m256i*>(tile.codes[t] + 32 * g);
    if constexpr (L::kWords) {
      _mm256_store_si256(to, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(c)));
      _mm256_store_si256(to + 1, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(c, 1)));
    } else {
      _mm256_store_si256(to, _mm256_xor_si256(c, _mm256_set1_epi8(L::kUnsignedX ? -128 : 0)));
    }
  }
  if constexpr (L::kSuper) {
    tile.dx[t][0] = x.scales[at / 256];
    if constexpr (L::kMins == 8) memcpy(tile.sum_pairs[t], sums, 32);
    if constexpr (L::kMins == 4) {
      // Sums of 32 fit 16 bits: at most 32 * 127.
      const __m256i s = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums));
      const __m256i wide = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
      const __m128i narrow =
          _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(tile.sum_pairs[t]), narrow);
    }
    return;
  }
  for (int g = 0; g < groups; ++g) {
    const float dx = x.scales[at / 32 + g];
    const int sum = sums[2 * g] + sums[2 * g + 1];
    tile.dx[t][g] = dx;
    if constexpr (L::kMins != 0) tile.dx_sum[t][g] = dx * static_cast<float>(sum);
    if constexpr (L::kBias != 0 && L::kSub == 32) tile.bias[t][g] = L::kBias * sum;
    if constexpr (L::kBias != 0 && L::kSub == 16) {
      tile.bias[t][2 * g] = L::kBias * sums[2 * g];
      tile.bias[t][2 * g + 1] = L::kBias * sums[2 * g + 1];
    }
  }
}

template <typename L>
void pack_tile(const QuantizedTokens& x, int64_t num_tokens, int64_t tile, std::byte* to) {
  auto* tiles = reinterpret_cast<TokenTile<L>*>(to) + tile;
  for (int64_t column = 0; column < x.k; column += kColumns, tiles += num_tiles(num_tokens)) {
    const int64_t left = x.k - column;
    const int groups = static_cast<int>((left < kColumns ? left : kColumns) / 32);
    for (int t = 0; t < kTileTokens; ++t) {
      // A tile's last token stands in for those that are not there; their results are dropped.
      const int64_t wanted = tile * kTileTokens + t;
      const int64_t token = wanted < num_tokens ? wanted : num_tokens - 1;
      if (wanted < padded_tokens(num_tokens)) {
        pack_token<L>(*tiles, t, x, token * x.k + column, groups);
      }
    }
  }
}

template <typename L>
int64_t tiles_bytes(int64_t num_tokens, int64_t k) {
  return (k + kColumns - 1) / kColumns * num_tiles(num_tokens) *
         static_cast<int64_t>(sizeof(TokenTile<L>));
}

// ---- the product of a panel and a tile ----

constexpr int kPair = 2;  // row vectors computed together

template <typename L>
REALM_INLINE __m256i byte_products(__m256i w, __m256i x) {
  return L::kUnsignedX ? _mm256_maddubs_epi16(x, w) : _mm256_maddubs_epi16(w, x);
}

// Adds (or, for the first, sets) the integer products of kSub columns from `first` on.
template <typename L, int kTokens>
REALM_INLINE void sub_block(const Panel& panel, const TokenTile<L>& tile, int group, int vector,
                            int first, const __m256i* scale, bool set,
                            __m256i (&total)[kPair][kTokens]) {
  constexpr int kDepth = L::kDepth;
#pragma GCC unroll 4
  for (int quad = 0; quad < L::kSub / 4; quad += kDepth) {
    __m256i sums[kPair][kTokens];
#pragma GCC unroll 8
    for (int i = 0; i < kDepth; ++i) {
      const int q = first / 4 + quad + i;
      const __m256i w0 = load_vector(panel.bytes[group][vector][q]);
      const __m256i w1 = load_vector(panel.bytes[group][vector + 1][q]);
#pragma GCC unroll 6
      for (int t = 0; t < kTokens; ++t) {
        const __m256i x = broadcast_32(tile.codes[t] + 32 * group + 4 * q);
        const __m256i p0 = byte_products<L>(w0, x), p1 = byte_products<L>(w1, x);
        sums[0][t] = i == 0 ? p0 : _mm256_add_epi16(sums[0][t], p0);
        sums[1][t] = i == 0 ? p1 : _mm256_add_epi16(sums[1][t], p1);
        pin(sums[0][t]);
        pin(sums[1][t]);
      }
    }
#pragma GCC unroll 2
    for (int r = 0; r < kPair; ++r) {
#pragma GCC unroll 6
      for (int t = 0; t < kTokens; ++t) {
        const __m256i weighted = _mm256_madd_epi16(sums[r][t], scale[r]);
        total[r][t] = set && quad == 0 ? weighted : _mm256_add_epi32(total[r][t], weighted);
      }
    }
  }
}

// The same in words, for half a group (16 columns).
template <typename L, int kTokens>
REALM_INLINE void word_columns(const Panel& panel, const TokenTile<L>& tile, int group, int vector,
                               int half, __m256i (&total)[kPair][kTokens]) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int pair = 8 * half + i;
    const __m256i w0 = load_vector(panel.words[group][vector][pair]);
    const __m256i w1 = load_vector(panel.words[group][vector + 1][pair]);
#pragma GCC unroll 6
    for (int t = 0; t < kTokens; ++t) {
      const __m256i x = broadcast_32(tile.codes[t] + 32 * group + 2 * pair);
      total[0][t] = _mm256_add_epi32(total[0][t], _mm256_madd_epi16(w0, x));
      total[1][t] = _mm256_add_epi32(total[1][t], _mm256_madd_epi16(w1, x));
      pin(total[0][t]);
      pin(total[1][t]);
    }
  }
}

template <typename L>
struct Product;

}  // namespace

template <typename L>
void multiply_tiles(Panel& panel, const TokenTile<L>* tiles, int64_t num_tokens, int groups,
                    int vectors, float* sums) {
  Product<L>::begin(panel, vectors);
  int64_t left = padded_tokens(num_tokens);
  for (; left >= kTileTokens; left -= kTileTokens, ++tiles, sums += kTileTokens * kPanelRows) {
    Product<L>::template run<6>(panel, *tiles, groups, vectors, sums);
  }
  if (left == 4) Product<L>::template run<4>(panel, *tiles, groups, vectors, sums);
  if (left == 2) Product<L>::template run<2>(panel, *tiles, groups, vectors, sums);
}

template <typename L>
const TokenLayout* token_layout_of() {
  static constexpr TokenLayout layout = {
      .tile_tokens = kTileTokens, .bytes = tiles_bytes<L>, .pack = pack_tile<L>};
  return &layout;
}

// A layout that some format has and no file instantiates does not link.
#define REALM_LAYOUT(...)                                                                        \
  template void multiply_tiles(Panel&, const TokenTile<Layout<__VA_ARGS__>>*, int64_t, int, int, \
                               float*);                                                          \
  template const TokenLayout* token_layout_of<Layout<__VA_ARGS__>>();

}  // namespace realm::cpu::avx2
