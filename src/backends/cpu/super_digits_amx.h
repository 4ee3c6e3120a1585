// Codes times integer scales of blocks of 256, as the digits of SuperTile (matmul_amx.h). Formats
// that come in large numbers have a function over 64 bytes at a time here; the others go through
// their struct of block_codes.h.
//
// Included only by files that define REALM_ISA, under the rules of simd.h.
#pragma once

#include <immintrin.h>

#include "backends/cpu/codebook_avx512.h"
#include "backends/cpu/format_kernels.h"
#include "backends/cpu/matmul_amx.h"

namespace realm::cpu::REALM_ISA {
namespace {

// value = digits[0] + (digits[1] << shift), or the negated digits[0] alone.
struct DigitSplit {
  int count, shift;
  bool first_unsigned, second_unsigned, negated;
};
// Sixteen bits, cut into bytes.
inline constexpr DigitSplit kTwoBytes{2, 8, true, false, false};
// The code times three bits of its scale, twice: products of bytes that do not overflow, two of
// which come from one product of words.
inline constexpr DigitSplit kScaleParts{2, 3, true, true, false};
inline constexpr DigitSplit kSignedScaleParts{2, 3, false, false, false};

template <typename F>
inline constexpr DigitSplit kDigitsOf = kTwoBytes;
template <>
inline constexpr DigitSplit kDigitsOf<CodesQ4_K> = kScaleParts;  // 15 * 7
template <>
inline constexpr DigitSplit kDigitsOf<CodesQ5_K> = kScaleParts;  // 31 * 7
template <>
inline constexpr DigitSplit kDigitsOf<CodesIQ3_S> = kSignedScaleParts;  // 15 * 7
// Formats whose codes times scales fit one byte, some of them only if negated: 3 * 15, 4 * 32 (and
// -3 * 32), 1.
template <>
inline constexpr DigitSplit kDigitsOf<CodesQ2_K>{1, 0, false, false, false};
template <>
inline constexpr DigitSplit kDigitsOf<CodesQ3_K>{1, 0, false, false, true};
template <>
inline constexpr DigitSplit kDigitsOf<CodesTQ1_0>{1, 0, false, false, true};
template <>
inline constexpr DigitSplit kDigitsOf<CodesTQ2_0>{1, 0, false, false, true};

REALM_INLINE __m512i low_bytes() {
  return _mm512_set1_epi16(0xff);
}
// Bytes of a, and of b where the mask is set.
REALM_INLINE __m512i or_masked(__m512i a, __m512i b, __m512i mask) {
  return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
}
// Lanes `a` to `d` of the words, each for the eight pairs of sixteen codes.
REALM_INLINE __m512i spread_words(__m512i words, int a, int b, int c, int d) {
  return _mm512_permutexvar_epi16(avx512::words_index(a, b, c, d), words);
}
// The scale of each pair of codes 64 step and following, from one word a sub-block.
template <int kSub>
REALM_INLINE __m512i scales_of_step(__m512i scales, int step) {
  if constexpr (kSub == 32) {
    return spread_words(scales, 2 * step, 2 * step, 2 * step + 1, 2 * step + 1);
  } else {
    return spread_words(scales, 4 * step, 4 * step + 1, 4 * step + 2, 4 * step + 3);
  }
}

// Where a row's codes 32 v and following go.
REALM_INLINE int8_t* place(SuperTile& to, int digit, int row, int v) {
  return to.digits[digit][v / 2][row] + 32 * (v % 2);
}
REALM_INLINE void store_halves(int8_t* low, int8_t* high, __m512i codes) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(low), _mm512_castsi512_si256(codes));
  _mm256_store_si256(reinterpret_cast<__m256i*>(high), _mm512_extracti64x4_epi64(codes, 1));
}

// kTwoBytes of the words for codes 64 step, + 2 and so on, and for those between.
REALM_INLINE void store_bytes_of(__m512i even, __m512i odd, int step, int row, SuperTile& to) {
  _mm512_store_si512(to.digits[0][step][row],
                     _mm512_ternarylogic_epi32(low_bytes(), even, _mm512_slli_epi16(odd, 8), 0xca));
  _mm512_store_si512(to.digits[1][step][row],
                     _mm512_ternarylogic_epi32(low_bytes(), _mm512_srli_epi16(even, 8), odd, 0xca));
}

// kTwoBytes of signed codes; the scales are multiplied by 256, and so is every other code, so that
// the upper half of the product is the whole of it.
REALM_INLINE void store_two_bytes(__m512i codes, __m512i scales_256, int step, int row,
                                  SuperTile& to) {
  const __m512i even = _mm512_mulhi_epi16(_mm512_slli_epi16(codes, 8), scales_256);
  const __m512i odd = _mm512_mulhi_epi16(_mm512_andnot_si512(low_bytes(), codes), scales_256);
  store_bytes_of(even, odd, step, row, to);
}

// ---- every format ----

template <typename F>
REALM_INLINE void store_digits(F, const uint8_t* block, __m256i scales, int row, SuperTile& to) {
  const __m512i bias = _mm512_set1_epi8(static_cast<char>(F::kBias));
  const __m512i wide =
      _mm512_castsi256_si512(kDigitsOf<F>.count == 1 ? scales : _mm256_slli_epi16(scales, 8));
#pragma GCC unroll 4
  for (int step = 0; step < 4; ++step) {
    const __m512i packed =
        avx512::halves(F::codes(block, 2 * step).v, F::codes(block, 2 * step + 1).v);
    const __m512i scale = scales_of_step<F::kSub>(wide, step);
    if constexpr (kDigitsOf<F>.count == 1) {
      // The lower byte of a product of words depends on their lower bytes only.
      const __m512i q = _mm512_sub_epi8(bias, packed);
      const __m512i even = _mm512_mullo_epi16(q, scale);
      const __m512i odd = _mm512_mullo_epi16(_mm512_srli_epi16(q, 8), scale);
      _mm512_store_si512(
          to.digits[0][step][row],
          _mm512_ternarylogic_epi32(low_bytes(), even, _mm512_slli_epi16(odd, 8), 0xca));
    } else {
      store_two_bytes(_mm512_sub_epi8(packed, bias), scale, step, row, to);
    }
  }
}

// ---- Q4_K, Q5_K ----

template <bool kFifthBit>
REALM_INLINE void store_k_digits(const uint8_t* codes, const uint8_t* fifth, __m256i scales,
                                 int row, SuperTile& to) {
  const __m128i s = _mm256_castsi256_si128(scales);
  const __m512i parts = _mm512_castsi256_si512(
      _mm256_setr_m128i(_mm_and_si128(s, _mm_set1_epi16(7)), _mm_srli_epi16(s, 3)));
  const __m512i nibble = _mm512_set1_epi8(15), bit = _mm512_set1_epi8(16);
  __m512i high = _mm512_setzero_si512();  // fifth bits of sub-blocks j and j + 2 at bit j
  if constexpr (kFifthBit) {
    const __m512i two = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    high = _mm512_srlv_epi16(_mm512_broadcast_i64x4(avx512::load_32(fifth)), two);
  }
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512i packed = avx512::load_64(codes + 64 * h);
    __m512i q[2] = {_mm512_and_si512(packed, nibble),
                    _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble)};
    if constexpr (kFifthBit) {
      q[0] = or_masked(q[0], h == 0 ? _mm512_slli_epi16(high, 4) : high, bit);
      q[1] = or_masked(q[1], h == 0 ? _mm512_slli_epi16(high, 3) : _mm512_srli_epi16(high, 1), bit);
    }
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; ++odd) {
#pragma GCC unroll 2
      for (int digit = 0; digit < 2; ++digit) {
        const int v = 4 * h + odd, first = 8 * digit + v;  // sub-blocks v and v + 2
        const __m512i scale = spread_words(parts, first, first, first + 2, first + 2);
        store_halves(place(to, digit, row, v), place(to, digit, row, v + 2),
                     _mm512_mullo_epi16(q[odd], scale));
      }
    }
  }
}
REALM_INLINE void store_digits(CodesQ4_K, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  store_k_digits<false>(block + offsetof(BlockQ4_K, qs), nullptr, scales, row, to);
}
REALM_INLINE void store_digits(CodesQ5_K, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  store_k_digits<true>(block + offsetof(BlockQ5_K, qs), block + offsetof(BlockQ5_K, qh), scales,
                       row, to);
}

// ---- Q2_K, Q3_K: two bits of codes 32 v and 128 + 32 v and following, v < 4, at bit 2 v ----

// The scales of those codes' four sub-blocks.
REALM_INLINE __m512i scales_of_two_bits(__m256i scales, int v) {
  return spread_words(_mm512_castsi256_si512(scales), 2 * v, 2 * v + 1, 2 * v + 8, 2 * v + 9);
}

REALM_INLINE void store_digits(CodesQ2_K, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  const __m512i packed = avx512::load_64(block + offsetof(BlockQ2_K, qs));
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const __m512i q = _mm512_and_si512(_mm512_srli_epi16(packed, static_cast<unsigned>(2 * v)),
                                       _mm512_set1_epi8(3));
    store_halves(place(to, 0, row, v), place(to, 0, row, v + 4),
                 _mm512_mullo_epi16(q, scales_of_two_bits(scales, v)));
  }
}

REALM_INLINE void store_digits(CodesQ3_K, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  const __m512i packed = avx512::load_64(block + offsetof(BlockQ3_K, qs));
  // Third bits of codes 32 v and 128 + 32 v and following at bit v.
  const __m512i four = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
  const __m512i high = _mm512_srlv_epi16(
      _mm512_broadcast_i64x4(avx512::load_32(block + offsetof(BlockQ3_K, hmask))), four);
  const __m512i third[4] = {_mm512_slli_epi16(high, 2), _mm512_slli_epi16(high, 1), high,
                            _mm512_srli_epi16(high, 1)};
  const __m512i middle = _mm512_set1_epi16(0x80);
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const __m512i low = _mm512_and_si512(_mm512_srli_epi16(packed, static_cast<unsigned>(2 * v)),
                                         _mm512_set1_epi8(3));
    const __m512i q = or_masked(low, third[v], _mm512_set1_epi8(4));
    // Two bytes as one integer, first + 256 * second, times the scale. With 128 the first product
    // is not negative, so that it takes nothing from the second.
    const __m512i two = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_set1_epi16(0x0404), q),
                                           scales_of_two_bits(scales, v));
    store_halves(place(to, 0, row, v), place(to, 0, row, v + 4),
                 _mm512_xor_si512(_mm512_add_epi16(two, middle), middle));
  }
}

// ---- Q6_K ----

REALM_INLINE void store_digits(CodesQ6_K, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  const uint8_t* low = block + offsetof(BlockQ6_K, ql);
  const uint8_t* high = block + offsetof(BlockQ6_K, qh);
  const __m512i wide = _mm512_castsi256_si512(_mm256_slli_epi16(scales, 8));
  const __m512i nibble = _mm512_set1_epi8(15), upper = _mm512_set1_epi8(0x30);
  const __m512i up = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
  const __m512i down = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512i nibbles = avx512::load_64(low + 64 * i);
    const __m512i two_bits = _mm512_broadcast_i64x4(avx512::load_32(high + 32 * i));
    const __m512i q[2] = {
        or_masked(_mm512_and_si512(nibbles, nibble), _mm512_sllv_epi16(two_bits, up), upper),
        or_masked(_mm512_and_si512(_mm512_srli_epi16(nibbles, 4), nibble),
                  _mm512_srlv_epi16(two_bits, down), upper)};
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      const int step = 2 * i + j;
      store_two_bytes(_mm512_sub_epi8(q[j], _mm512_set1_epi8(CodesQ6_K::kBias)),
                      scales_of_step<16>(wide, step), step, row, to);
    }
  }
}

// ---- IQ4_XS: sixteen bytes a sub-block, its first half in the lower nibbles ----

REALM_INLINE void store_digits(CodesIQ4_XS, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  const __m512i wide = _mm512_castsi256_si512(_mm256_slli_epi16(scales, 8));
  const __m512i values =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4Values)));
  const __m512i twice = _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3);
  const __m512i shift = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0,
                                         0x0004000400040004, 0x0004000400040004, 0, 0);
#pragma GCC unroll 4
  for (int step = 0; step < 4; ++step) {
    const __m512i packed = _mm512_permutexvar_epi64(
        twice,
        _mm512_castsi256_si512(avx512::load_32(block + offsetof(BlockIQ4_XS, qs) + 32 * step)));
    const __m512i nibbles =
        _mm512_and_si512(_mm512_srlv_epi16(packed, shift), _mm512_set1_epi8(15));
    store_two_bytes(_mm512_shuffle_epi8(values, nibbles), scales_of_step<32>(wide, step), step, row,
                    to);
  }
}

// ---- codebooks ----

template <typename Book>
REALM_INLINE __m512i signed_codes(const uint8_t* block, const avx512::Signs& signs, int step) {
  const __m512i codes = Book::codes(block, step);
  return _mm512_mask_sub_epi8(codes, signs.of[step], _mm512_setzero_si512(), codes);
}
template <typename F, typename Book>
REALM_INLINE void store_book_digits(const uint8_t* block, __m256i scales, int row, SuperTile& to) {
  const avx512::Signs signs = Book::signs(block);
  const __m512i wide = _mm512_castsi256_si512(_mm256_slli_epi16(scales, 8));
#pragma GCC unroll 4
  for (int step = 0; step < 4; ++step) {
    store_two_bytes(signed_codes<Book>(block, signs, step), scales_of_step<F::kSub>(wide, step),
                    step, row, to);
  }
}
REALM_INLINE void store_digits(CodesIQ2_XXS, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  store_book_digits<CodesIQ2_XXS, avx512::IQ2_XXS>(block, scales, row, to);
}
REALM_INLINE void store_digits(CodesIQ2_XS, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  store_book_digits<CodesIQ2_XS, avx512::IQ2_XS>(block, scales, row, to);
}
REALM_INLINE void store_digits(CodesIQ2_S, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  store_book_digits<CodesIQ2_S, avx512::IQ2_S>(block, scales, row, to);
}
REALM_INLINE void store_digits(CodesIQ3_XXS, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  store_book_digits<CodesIQ3_XXS, avx512::IQ3_XXS>(block, scales, row, to);
}
REALM_INLINE void store_digits(CodesIQ3_S, const uint8_t* block, __m256i scales, int row,
                               SuperTile& to) {
  const avx512::Signs signs = avx512::IQ3_S::signs(block);
  const __m128i s = _mm256_castsi256_si128(scales);
  const __m512i low = _mm512_castsi128_si512(_mm_and_si128(s, _mm_set1_epi16(7)));
  const __m512i high = _mm512_castsi128_si512(_mm_srli_epi16(s, 3));
  const __m512i zero = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int step = 0; step < 4; ++step) {
    const __m512i codes = avx512::IQ3_S::codes(block, step);
    const __m512i first = _mm512_mullo_epi16(codes, scales_of_step<32>(low, step));
    const __m512i second = _mm512_mullo_epi16(codes, scales_of_step<32>(high, step));
    _mm512_store_si512(to.digits[0][step][row],
                       _mm512_mask_sub_epi8(first, signs.of[step], zero, first));
    _mm512_store_si512(to.digits[1][step][row],
                       _mm512_mask_sub_epi8(second, signs.of[step], zero, second));
  }
}

}  // namespace
}  // namespace realm::cpu::REALM_ISA
