// The AVX2 panel product of formats with blocks of up to 128 elements: a float scale (and minimum)
// for every 16 or 32, so that each such group goes through the float accumulators.
#include "backends/cpu/panel_tiles_avx2.h"

namespace realm::cpu::avx2 {
namespace {

template <typename L, int kTokens>
void small_tile(const Panel& panel, const TokenTile<L>& tile, int groups, int vectors,
                float* sums) {
  constexpr int kHalves = 32 / L::kSub;
  const __m256i ones[kPair] = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
  for (int vector = 0; vector < vectors; vector += kPair) {
    for (int g = 0; g < groups; ++g) {
#pragma GCC unroll 2
      for (int half = 0; half < kHalves; ++half) {
        __m256i total[kPair][kTokens];
        if constexpr (L::kWords) {
          for (auto& row : total) {
            for (__m256i& sum : row) sum = _mm256_setzero_si256();
          }
          word_columns<L, kTokens>(panel, tile, g, vector, half, total);
          if (kHalves == 1) word_columns<L, kTokens>(panel, tile, g, vector, 1, total);
        } else {
          sub_block<L, kTokens>(panel, tile, g, vector, L::kSub * half, ones, true, total);
        }
        const int sub = g * kHalves + half;
#pragma GCC unroll 6
        for (int t = 0; t < kTokens; ++t) {
          const __m256 dx = _mm256_set1_ps(tile.dx[t][g]);
#pragma GCC unroll 2
          for (int r = 0; r < kPair; ++r) {
            const int row = 8 * (vector + r);
            float* acc = sums + t * kPanelRows + row;
            __m256i dot = total[r][t];
            if constexpr (L::kBias != 0) {
              dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(tile.bias[t][sub]));
            }
            __m256 sum = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(panel.scale[sub] + row), dx),
                                         _mm256_cvtepi32_ps(dot), _mm256_load_ps(acc));
            if constexpr (L::kMins != 0) {
              sum = _mm256_fmadd_ps(_mm256_load_ps(panel.min[g] + row),
                                    _mm256_set1_ps(tile.dx_sum[t][g]), sum);
            }
            _mm256_store_ps(acc, sum);
          }
        }
      }
    }
  }
}

template <typename L>
struct Product {
  static void begin(Panel&, int) {}
  template <int kTokens>
  static void run(const Panel& panel, const TokenTile<L>& tile, int groups, int vectors,
                  float* sums) {
    small_tile<L, kTokens>(panel, tile, groups, vectors, sums);
  }
};

}  // namespace

REALM_LAYOUT(false, 32, false, 8, 0, 8)   // Q4_0
REALM_LAYOUT(false, 32, false, 8, 1, 0)   // Q4_1
REALM_LAYOUT(false, 32, false, 4, 0, 16)  // Q5_0
REALM_LAYOUT(false, 32, false, 4, 1, 0)   // Q5_1
REALM_LAYOUT(false, 32, false, 0, 0, 0)   // Q8_0, Q8_1, IQ4_NL
REALM_LAYOUT(false, 32, false, 4, 0, 12)  // MXFP4
REALM_LAYOUT(false, 16, false, 4, 0, 12)  // NVFP4
REALM_LAYOUT(false, 32, false, 8, 0, 1)   // Q1_0
REALM_LAYOUT(false, 16, false, 0, 0, 0)   // unpacked, a scale for 16
REALM_LAYOUT(false, 32, false, 0, 1, 0)   // unpacked, with minima

}  // namespace realm::cpu::avx2
