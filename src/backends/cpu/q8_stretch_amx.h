// Q8_0 in stretches of 256 elements, as the AMX backend takes it where k is a multiple of 256: as
// the formats with blocks of that size. Activations are quantized in groups of 256, and the eight
// blocks' scales are integers with one factor, so that integers add up over the whole stretch:
//   s_j = round(255 * d_j / largest |d|)
//   acc = fma((largest |d| / 255) * dx, float(sum_j s_j * sum_i q_i x_i), acc)
// A weight is 1/510 of the stretch's largest one off at most, in the mean a third of what its code
// rounds. (With a float factor for every 32 elements, tiles of sums are given back eight times as
// often, which takes longer than the products.)
//
// Included only by files that are compiled for AVX-512.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace realm::cpu::amx {
namespace {

inline constexpr int kQ8Bytes = 34;  // of a block: the scale, then 32 codes
inline constexpr int kQ8StretchBytes = 8 * kQ8Bytes;

static inline __attribute__((always_inline)) __m512 q8_larger(__m512 largest, __m512 d) {
  constexpr int kLargerSize = 0x0b;  // of both, without sign
  return _mm512_range_ps(d, largest, kLargerSize);
}
static inline __attribute__((always_inline)) __m512 q8_inverse(__m512 largest) {
  const __mmask16 some = _mm512_cmp_ps_mask(largest, _mm512_setzero_ps(), _CMP_GT_OQ);
  return _mm512_maskz_div_ps(some, _mm512_set1_ps(255.0f), largest);
}
static inline __attribute__((always_inline)) __m512i q8_scales(__m512 d, __m512 inverse) {
  return _mm512_cvtps_epi32(_mm512_mul_ps(d, inverse));
}
static inline __attribute__((always_inline)) __m512 q8_factor(__m512 largest) {
  return _mm512_mul_ps(largest, _mm512_set1_ps(1.0f / 255.0f));
}

}  // namespace
}  // namespace realm::cpu::amx
