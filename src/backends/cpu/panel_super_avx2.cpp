// The AVX2 panel product of formats with blocks of 256 elements: scales are integers, so that a
// panel's sums stay integers and meet the float accumulators once.
#include "backends/cpu/panel_tiles_avx2.h"

namespace realm::cpu::avx2 {
namespace {

// The integer sums of 256 columns.
template <typename L, int kTokens>
REALM_INLINE void super_sums(const Panel& panel, const TokenTile<L>& tile, int vector,
                             __m256i (&total)[kPair][kTokens]) {
  if constexpr (L::kWords) {
    for (int g = 0; g < kGroups; ++g) {
      word_columns<L, kTokens>(panel, tile, g, vector, 0, total);
      word_columns<L, kTokens>(panel, tile, g, vector, 1, total);
    }
  } else {
    constexpr int kHalves = 32 / L::kSub;
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 2
      for (int half = 0; half < kHalves; ++half) {
        const int32_t* pairs = panel.scale_pairs[g * kHalves + half] + 8 * vector;
        const __m256i scale[kPair] = {load_vector(pairs), load_vector(pairs + 8)};
        sub_block<L, kTokens>(panel, tile, g, vector, L::kSub * half, scale, false, total);
      }
    }
  }
}

// Adds the minima of one token to the sums of two row vectors.
template <typename L>
REALM_INLINE void subtract_minima(const Panel& panel, const int32_t* sum_pairs, int row, __m256 dx,
                                  __m256 (&sum)[kPair]) {
  __m256i minima[kPair];
#pragma GCC unroll 8
  for (int j = 0; j < L::kMins; ++j) {
    const __m256i x = _mm256_set1_epi32(sum_pairs[j]);
#pragma GCC unroll 2
    for (int r = 0; r < kPair; ++r) {
      const __m256i m = _mm256_madd_epi16(x, load_vector(panel.min_pairs[j] + row + 8 * r));
      minima[r] = j == 0 ? m : _mm256_add_epi32(minima[r], m);
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < kPair; ++r) {
    const __m256 factor = _mm256_mul_ps(_mm256_load_ps(panel.min[0] + row + 8 * r), dx);
    sum[r] = _mm256_fnmadd_ps(factor, _mm256_cvtepi32_ps(minima[r]), sum[r]);
  }
}

template <typename L, int kTokens>
void super_tile(const Panel& panel, const TokenTile<L>& tile, int vectors, float* sums) {
  for (int vector = 0; vector < vectors; vector += kPair) {
    const int row = 8 * vector;
    __m256i total[kPair][kTokens];
    for (int r = 0; r < kPair; ++r) {
      for (int t = 0; t < kTokens; ++t) {
        total[r][t] =
            L::kUnsignedX ? load_vector(panel.start + row + 8 * r) : _mm256_setzero_si256();
      }
    }
    super_sums<L, kTokens>(panel, tile, vector, total);
#pragma GCC unroll 6
    for (int t = 0; t < kTokens; ++t) {
      const __m256 dx = _mm256_set1_ps(tile.dx[t][0]);
      float* acc = sums + t * kPanelRows + row;
      __m256 sum[kPair];
#pragma GCC unroll 2
      for (int r = 0; r < kPair; ++r) {
        const __m256 factor = _mm256_mul_ps(_mm256_load_ps(panel.scale[0] + row + 8 * r), dx);
        sum[r] =
            _mm256_fmadd_ps(factor, _mm256_cvtepi32_ps(total[r][t]), _mm256_load_ps(acc + 8 * r));
      }
      if constexpr (L::kMins != 0) {
        subtract_minima<L>(panel, tile.sum_pairs[t], row, dx, sum);
      }
#pragma GCC unroll 2
      for (int r = 0; r < kPair; ++r) _mm256_store_ps(acc + 8 * r, sum[r]);
    }
  }
}

// What x + 128 adds to each row's sum: the product with a token whose codes are all zero.
template <typename L>
void find_start(Panel& panel, int vectors) {
  TokenTile<L> zero;
  memset(zero.codes[0], 128, kColumns);
  for (int vector = 0; vector < vectors; vector += kPair) {
    __m256i total[kPair][1] = {{_mm256_setzero_si256()}, {_mm256_setzero_si256()}};
    super_sums<L, 1>(panel, zero, vector, total);
    for (int r = 0; r < kPair; ++r) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(panel.start + 8 * (vector + r)),
                         _mm256_sub_epi32(_mm256_setzero_si256(), total[r][0]));
    }
  }
}

template <typename L>
struct Product {
  static void begin(Panel& panel, int vectors) {
    if constexpr (L::kUnsignedX) find_start<L>(panel, vectors);
  }
  template <int kTokens>
  static void run(const Panel& panel, const TokenTile<L>& tile, int groups, int vectors,
                  float* sums) {
    static_cast<void>(groups);
    super_tile<L, kTokens>(panel, tile, vectors, sums);
  }
};

}  // namespace

REALM_LAYOUT(true, 16, false, 4, 8, 0)  // Q2_K
REALM_LAYOUT(true, 16, true, 4, 0, 0)   // Q3_K, IQ1_M
REALM_LAYOUT(true, 32, false, 8, 4, 0)  // Q4_K
REALM_LAYOUT(true, 32, false, 4, 4, 0)  // Q5_K
REALM_LAYOUT(true, 16, true, 2, 0, 0)   // Q6_K
REALM_LAYOUT(true, 32, true, 4, 0, 0)   // IQ3_S, IQ1_S
REALM_LAYOUT(true, 32, true, 8, 0, 0)   // TQ1_0, TQ2_0
REALM_LAYOUT(true, 32, false, 0, 0, 0)  // IQ4_XS, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS
REALM_LAYOUT(true, 32, false, 0, 4, 0)  // unpacked, with minima
REALM_LAYOUT(true, 32, false, 0, 8, 0)  // unpacked, with minima for 16

}  // namespace realm::cpu::avx2
