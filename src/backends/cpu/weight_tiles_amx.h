// Packed rows to tiles of weights (matmul_amx.h), every format through its struct of block_codes.h.
//
// Included only by files that define REALM_ISA, under the rules of simd.h.
#pragma once

#include <immintrin.h>

#include "backends/cpu/format_kernels.h"
#include "backends/cpu/matmul_amx.h"

namespace realm::cpu::REALM_ISA {
namespace {

// Sixteen rows' packed bytes.
struct RowPointers {
  const uint8_t* row[kTile];
  int64_t row_bytes;
};

// The rows are read in steps across all of them, which no hardware prefetcher follows. `at` is the
// offset in a row; past its end, the group of 2 * kTile rows after this one follows.
REALM_INLINE void prefetch_ahead(const RowPointers& rows, int i, int64_t at, int64_t bytes) {
  if (at >= rows.row_bytes) at += (2 * kTile - 1) * rows.row_bytes;
  for (int64_t line = 0; line < bytes; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(rows.row[i] + at + line), _MM_HINT_T0);
  }
}

// Formats whose codes times scales, negated, fit one byte: 3 * 15, 4 * 32 (and -3 * 32), 1.
template <typename F>
constexpr bool kOneDigit = false;
template <>
constexpr bool kOneDigit<CodesQ2_K> = true;
template <>
constexpr bool kOneDigit<CodesQ3_K> = true;
template <>
constexpr bool kOneDigit<CodesTQ1_0> = true;
template <>
constexpr bool kOneDigit<CodesTQ2_0> = true;

REALM_INLINE __m256i words(ScaleBytes s) {
  return _mm256_cvtepi8_epi16(
      _mm_set_epi64x(static_cast<int64_t>(s.hi), static_cast<int64_t>(s.lo)));
}

// The scale of each pair of codes 64 step and following, from one word a sub-block.
template <int kSub>
REALM_INLINE __m512i scales_of_step(__m256i scales, int step) {
  alignas(64) static constexpr int16_t kBy32[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                                    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  alignas(64) static constexpr int16_t kBy16[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                                    2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
  const __m512i index = _mm512_add_epi16(_mm512_load_si512(kSub == 32 ? kBy32 : kBy16),
                                         _mm512_set1_epi16(static_cast<short>(64 / kSub * step)));
  return _mm512_permutexvar_epi16(index, _mm512_castsi256_si512(scales));
}

template <typename F>
REALM_INLINE void unpack_step(const uint8_t* block, int step, __m512i scales, int row,
                              SuperTile& to) {
  const __m512i packed = _mm512_inserti64x4(_mm512_castsi256_si512(F::codes(block, 2 * step).v),
                                            F::codes(block, 2 * step + 1).v, 1);
  const __m512i bias = _mm512_set1_epi8(static_cast<char>(F::kBias));
  const __m512i low_bytes = _mm512_set1_epi16(0xff);
  if constexpr (kOneDigit<F>) {
    // The lower byte of a product of words depends on their lower bytes only.
    const __m512i q = _mm512_sub_epi8(bias, packed);
    const __m512i even = _mm512_mullo_epi16(q, scales);
    const __m512i odd = _mm512_mullo_epi16(_mm512_srli_epi16(q, 8), scales);
    _mm512_store_si512(to.digits[0][step][row],
                       _mm512_ternarylogic_epi32(low_bytes, even, _mm512_slli_epi16(odd, 8), 0xca));
    return;
  }
  __m512i even, odd;
  if constexpr (F::kSigned || F::kBias != 0) {
    const __m512i q = _mm512_sub_epi8(packed, bias);
    even = _mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(q, 8), 8), scales);
    odd = _mm512_mullo_epi16(_mm512_srai_epi16(q, 8), scales);
  } else {
    even = _mm512_mullo_epi16(_mm512_and_si512(packed, low_bytes), scales);
    odd = _mm512_mullo_epi16(_mm512_srli_epi16(packed, 8), scales);
  }
  _mm512_store_si512(to.digits[0][step][row],
                     _mm512_ternarylogic_epi32(low_bytes, even, _mm512_slli_epi16(odd, 8), 0xca));
  _mm512_store_si512(to.digits[1][step][row],
                     _mm512_ternarylogic_epi32(low_bytes, _mm512_srli_epi16(even, 8), odd, 0xca));
}

// The block at byte `at` of each row.
template <typename F>
void unpack_super(const BlockFormat& format, const RowPointers& rows, int64_t at, SuperTile& to) {
  typename BufferOf<F>::Type buffer;
  for (int i = 0; i < kTile; ++i) {
    prefetch_ahead(rows, i, at + format.block_bytes, format.block_bytes);
    const uint8_t* block = block_at<F>(format, rows.row[i] + at, 0, buffer);
    const __m256i scales = words(F::scales(block));
    for (int step = 0; step < 4; ++step) {
      unpack_step<F>(block, step, scales_of_step<F::kSub>(scales, step), i, to);
    }
    to.d[i] = F::d(block);
    if constexpr (F::kHasMin) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.mins[i]), words(F::mins(block)));
      to.dmin[i] = F::dmin(block);
    }
  }
}

// `k` elements of each row from byte `at` on; k <= kSmallK.
template <typename F>
void unpack_small(const BlockFormat& format, const RowPointers& rows, int64_t at, int64_t k,
                  SmallTile& to) {
  constexpr int kHalves = 32 / F::kSub;
  typename BufferOf<F>::Type buffer;
  const __m256i bias = _mm256_set1_epi8(static_cast<char>(F::kBias));
  const int block_groups = groups_of_block<F>(format);
  const int64_t bytes = k / 32 / block_groups * bytes_of_block<F>(format);
  for (int i = 0; i < kTile; ++i) {
    const uint8_t* data = rows.row[i] + at;
    for (int64_t g = 0; g < k / 32; ++g) {
      const int v = static_cast<int>(g % block_groups);
      const uint8_t* block =
          block_at<F>(format, data + g / block_groups * bytes_of_block<F>(format), v, buffer);
      const __m256i q = _mm256_sub_epi8(F::codes(block, v).v, bias);
      if constexpr (F::kSub == 32) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(to.codes + (g * kTile + i) * 32), q);
      } else {
        auto* half = reinterpret_cast<__m128i*>(to.codes + (2 * g * kTile + i) * 16);
        _mm_store_si128(half, _mm256_castsi256_si128(q));
        _mm_store_si128(half + kTile, _mm256_extracti128_si256(q, 1));
      }
      for (int h = 0; h < kHalves; ++h) {
        to.factors[kHalves * g + h][i] = F::scale(block, (kUnpacksFirst<F> ? 0 : v * kHalves) + h);
      }
      if constexpr (F::kHasMin) to.minima[g][i] = F::min(block);
    }
    // A row's stretch is long enough for the hardware to follow; the next row's is announced.
    prefetch_ahead(rows, i, at + bytes, 256);
  }
}

}  // namespace
}  // namespace realm::cpu::REALM_ISA
