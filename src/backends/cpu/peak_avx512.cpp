#include <immintrin.h>

#include "backends/cpu/peak.h"

namespace realm::cpu {

double avx512_peak_loop(int64_t rounds) {
  constexpr int kSums = 16;
  __m512i sums[kSums];
  const __m512i a = _mm512_set1_epi8(1), b = a;
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) sums[j] = _mm512_setzero_si512();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kSums; ++j) {
      sums[j] = _mm512_dpbusd_epi32(sums[j], a, b);
      asm volatile("" : "+v"(sums[j]));
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) asm volatile("" : "+v"(sums[j]));
  return 128.0 * kSums * static_cast<double>(rounds);
}

}  // namespace realm::cpu
