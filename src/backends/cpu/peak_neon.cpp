#include <arm_neon.h>

#include "backends/cpu/peak.h"

namespace realm::cpu {

double neon_peak_loop(int64_t rounds) {
  constexpr int kSums = 16;
  int32x4_t sums[kSums];
  const int8x16_t a = vdupq_n_s8(1), b = a;
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) sums[j] = vdupq_n_s32(0);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kSums; ++j) {
      sums[j] = vdotq_s32(sums[j], a, b);
      asm volatile("" : "+w"(sums[j]));
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) asm volatile("" : "+w"(sums[j]));
  return 32.0 * kSums * static_cast<double>(rounds);
}

}  // namespace realm::cpu
