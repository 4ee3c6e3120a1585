// What the AVX-512 kernels for few tokens share: walking the rows of a group, and turning their
// integer sums into one lane a row. Included only by files that are compiled for AVX-512.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "backends/cpu/matmul_kernels.h"

// Kept inline so that what they return stays in registers.
#define REALM_KERNEL_INLINE static inline __attribute__((always_inline))

namespace realm::cpu::avx512 {
namespace {

REALM_KERNEL_INLINE __m256i load_32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
REALM_KERNEL_INLINE __m512i load_64(const void* p) {
  return _mm512_loadu_si512(p);
}
REALM_KERNEL_INLINE __m512i halves(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// A group of rows is read in steps across all of them, which no hardware prefetcher follows; its
// successor in memory (RowGroup::next) is fetched into the second-level cache meanwhile, in order.
// Prefetching past the end of a mapping is harmless.
template <int kBytes>
REALM_KERNEL_INLINE void prefetch_next(const uint8_t* p) {
  for (int line = 0; line < kBytes; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(p + line), _MM_HINT_T1);
  }
}

// Row pointers of a group; rows past the end repeat the last one and are not stored.
template <int kRows>
struct RowGroup {
  const uint8_t* row[kRows];
  int count;
  const uint8_t* next;  // what this thread reads next, as far as is known

  RowGroup(const WeightRows& weights, int first) {
    count = weights.num_rows - first < kRows ? weights.num_rows - first : kRows;
    for (int i = 0; i < kRows; ++i) {
      row[i] = weights.data + (first + (i < count ? i : count - 1)) * weights.row_bytes;
    }
    const bool more = weights.more || first + kRows < weights.num_rows;
    next = row[0] + (more ? kRows * weights.row_bytes : 0);
  }
};

REALM_KERNEL_INLINE uint16_t half_bits(const uint8_t* p) {
  uint16_t h;
  memcpy(&h, p, 2);
  return h;
}

// Lane i of the result is the sum of p[i]'s lanes.
REALM_KERNEL_INLINE __m512i reduce_16(const __m512i* p) {
  __m512i a[8], b[4], c[2];
  for (int i = 0; i < 8; ++i) {
    a[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(p[i], p[i + 8], 0x44),
                            _mm512_shuffle_i32x4(p[i], p[i + 8], 0xee));
  }
  for (int i = 0; i < 4; ++i) {
    b[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(a[i], a[i + 4], 0x88),
                            _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd));
  }
  for (int i = 0; i < 2; ++i) {
    c[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(b[i], b[i + 2]),
                            _mm512_unpackhi_epi64(b[i], b[i + 2]));
  }
  const __m512 c0 = _mm512_castsi512_ps(c[0]), c1 = _mm512_castsi512_ps(c[1]);
  const __m512i d = _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(c0, c1, 0x88)),
                                     _mm512_castps_si512(_mm512_shuffle_ps(c0, c1, 0xdd)));
  const __m512i order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
  return _mm512_permutexvar_epi32(order, d);
}

REALM_KERNEL_INLINE __m512i words_index(int a, int b, int c, int d) {
  // Eight 16-bit lanes of each.
  return halves(_mm256_setr_m128i(_mm_set1_epi16(static_cast<short>(a)),
                                  _mm_set1_epi16(static_cast<short>(b))),
                _mm256_setr_m128i(_mm_set1_epi16(static_cast<short>(c)),
                                  _mm_set1_epi16(static_cast<short>(d))));
}

// Activations from token t on.
inline QuantizedTokens from_token(const QuantizedTokens& x, int64_t t) {
  return {.codes = x.codes + t * x.k,
          .scales = x.scales + t * (x.k / x.group),
          .sums = x.sums + t * (x.k / 16),
          .packed = nullptr,
          .k = x.k,
          .group = x.group};
}

}  // namespace
}  // namespace realm::cpu::avx512
