#include <immintrin.h>

#include "backends/cpu/peak.h"

namespace realm::cpu {

double avx2_peak_loop(int64_t rounds) {
  constexpr int kSums = 12;
  __m256i sums[kSums], a = _mm256_set1_epi8(1);
  const __m256i b = _mm256_set1_epi8(1);
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) sums[j] = _mm256_setzero_si256();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kSums; ++j) {
      sums[j] = _mm256_add_epi16(sums[j], _mm256_maddubs_epi16(a, b));
      asm volatile("" : "+x"(sums[j]), "+x"(a));  // or the product would be computed once
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) asm volatile("" : "+x"(sums[j]));
  return 64.0 * kSums * static_cast<double>(rounds);
}

}  // namespace realm::cpu
