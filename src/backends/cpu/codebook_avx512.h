// Blocks whose codes are codebook entries with signs apart (IQ2 and IQ3), 64 codes at a time on
// AVX-512: entries are gathered eight or sixteen at once, and signs, one bit an element, are masks.
// Included only by files that are compiled for AVX-512.
#pragma once

#include "backends/cpu/dot_avx512.h"
#include "formats/quant/iq_grids.h"

namespace realm::cpu::avx512 {
namespace {

REALM_KERNEL_INLINE __m128i load_8(const uint8_t* p) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}
REALM_KERNEL_INLINE __m128i load_16(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// 256 signs, in element order.
struct Signs {
  __mmask64 of[4];
};
REALM_KERNEL_INLINE Signs signs_of(__m256i bits) {
  alignas(32) uint64_t words[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), bits);
  return {{words[0], words[1], words[2], words[3]}};
}
// Of seven bits a word, to which an eighth is added that makes their number even.
REALM_KERNEL_INLINE Signs even_signs(__m512i sevens) {
  __m512i parity = _mm512_xor_si512(sevens, _mm512_srli_epi16(sevens, 4));
  parity = _mm512_xor_si512(parity, _mm512_srli_epi16(parity, 2));
  parity = _mm512_xor_si512(parity, _mm512_srli_epi16(parity, 1));
  const __m512i eight = _mm512_or_si512(sevens, _mm512_slli_epi16(parity, 7));
  return signs_of(_mm512_cvtepi16_epi8(eight));
}
// Of words of four times seven bits, a scale above them.
REALM_KERNEL_INLINE Signs even_signs_of_words(__m256i words) {
  const __m512i w = _mm512_cvtepu32_epi64(words);
  const __m512i seven = _mm512_set1_epi16(127);
  const __m512i low = _mm512_mask_mov_epi16(w, 0x22222222, _mm512_slli_epi64(w, 9));
  const __m512i high =
      _mm512_mask_mov_epi16(_mm512_slli_epi64(w, 18), 0x88888888, _mm512_slli_epi64(w, 27));
  return even_signs(_mm512_and_si512(_mm512_mask_mov_epi16(low, 0xcccccccc, high), seven));
}

// 2 s + 1 for each nibble s of the lower eight bytes, lowest first, as words.
REALM_KERNEL_INLINE __m512i odd_nibbles(__m128i packed) {
  const __m128i bytes =
      _mm_and_si128(_mm_unpacklo_epi8(packed, _mm_srli_epi16(packed, 4)), _mm_set1_epi8(15));
  const __m256i words = _mm256_cvtepu8_epi16(bytes);
  return _mm512_castsi256_si512(
      _mm256_add_epi16(_mm256_add_epi16(words, words), _mm256_set1_epi16(1)));
}
// 2 s + 1 of the upper four bits s of eight dwords, as words in even places.
REALM_KERNEL_INLINE __m512i odd_top_bits(__m256i words) {
  const __m256i s = _mm256_srli_epi32(words, 28);
  return _mm512_castsi256_si512(_mm256_add_epi32(_mm256_add_epi32(s, s), _mm256_set1_epi32(1)));
}
// The word of each sub-block of 16 or 32 elements for every pair of the 64 elements `step`.
REALM_KERNEL_INLINE __m512i scales_by_16(__m512i words, int step) {
  return _mm512_permutexvar_epi16(words_index(4 * step, 4 * step + 1, 4 * step + 2, 4 * step + 3),
                                  words);
}
REALM_KERNEL_INLINE __m512i scales_by_32(__m512i words, int step, int apart) {
  const int first = 2 * step * apart, second = first + apart;
  return _mm512_permutexvar_epi16(words_index(first, first, second, second), words);
}

REALM_KERNEL_INLINE __m512i entries(const uint64_t* grid, __m512i index) {
  return _mm512_i64gather_epi64(index, grid, 8);
}
REALM_KERNEL_INLINE __m512i entries(const uint32_t* grid, __m512i index) {
  return _mm512_i32gather_epi32(index, grid, 4);
}

// A format: its block's bytes, where codes times scales are multiplied by kUnit * d;
//   codes(p, step)        64 magnitudes
//   signs(p)              set: negative
//   scales(p)             in a form that scale() takes
//   scale(scales, step)   a word for each pair of the 64 codes

struct IQ2_XXS {
  static constexpr int kBytes = 66;
  static constexpr float kUnit = 0.125f;
  REALM_KERNEL_INLINE __m512i codes(const uint8_t* p, int step) {
    // Two groups of four indices, each followed by a word of signs.
    const __m128i pair = load_16(p + 2 + 16 * step);
    return entries(kIq2XxsGrid.entries, _mm512_cvtepu8_epi64(_mm_shuffle_epi32(pair, 0x08)));
  }
  REALM_KERNEL_INLINE __m256i words(const uint8_t* p) {
    return _mm512_cvtepi64_epi32(_mm512_srli_epi64(load_64(p + 2), 32));
  }
  REALM_KERNEL_INLINE Signs signs(const uint8_t* p) { return even_signs_of_words(words(p)); }
  REALM_KERNEL_INLINE __m512i scales(const uint8_t* p) { return odd_top_bits(words(p)); }
  REALM_KERNEL_INLINE __m512i scale(__m512i scales, int step) {
    return scales_by_32(scales, step, 2);
  }
};

struct IQ2_XS {
  static constexpr int kBytes = 74;
  static constexpr float kUnit = 0.125f;
  REALM_KERNEL_INLINE __m512i codes(const uint8_t* p, int step) {
    const __m512i index =
        _mm512_and_si512(_mm512_cvtepu16_epi64(load_16(p + 2 + 16 * step)), _mm512_set1_epi64(511));
    return entries(kIq2XsGrid.entries, index);
  }
  REALM_KERNEL_INLINE Signs signs(const uint8_t* p) {
    return even_signs(_mm512_srli_epi16(load_64(p + 2), 9));
  }
  REALM_KERNEL_INLINE __m512i scales(const uint8_t* p) { return odd_nibbles(load_8(p + 66)); }
  REALM_KERNEL_INLINE __m512i scale(__m512i scales, int step) { return scales_by_16(scales, step); }
};

struct IQ2_S {
  static constexpr int kBytes = 82;
  static constexpr float kUnit = 0.125f;
  REALM_KERNEL_INLINE __m512i codes(const uint8_t* p, int step) {
    uint16_t upper;  // two bits of each of eight indices
    memcpy(&upper, p + 66 + 2 * step, 2);
    const __m512i low = _mm512_cvtepu8_epi64(load_8(p + 2 + 8 * step));
    const __m512i shift = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    const __m512i high =
        _mm512_and_si512(_mm512_srlv_epi64(_mm512_set1_epi64(upper), shift), _mm512_set1_epi64(3));
    return entries(kIq2SGrid.entries, _mm512_or_si512(low, _mm512_slli_epi64(high, 8)));
  }
  REALM_KERNEL_INLINE Signs signs(const uint8_t* p) { return signs_of(load_32(p + 34)); }
  REALM_KERNEL_INLINE __m512i scales(const uint8_t* p) { return odd_nibbles(load_8(p + 74)); }
  REALM_KERNEL_INLINE __m512i scale(__m512i scales, int step) { return scales_by_16(scales, step); }
};

struct IQ3_XXS {
  static constexpr int kBytes = 98;
  static constexpr float kUnit = 0.25f;
  REALM_KERNEL_INLINE __m512i codes(const uint8_t* p, int step) {
    return entries(kIq3XxsGrid.entries, _mm512_cvtepu8_epi32(load_16(p + 2 + 16 * step)));
  }
  REALM_KERNEL_INLINE Signs signs(const uint8_t* p) { return even_signs_of_words(load_32(p + 66)); }
  REALM_KERNEL_INLINE __m512i scales(const uint8_t* p) { return odd_top_bits(load_32(p + 66)); }
  REALM_KERNEL_INLINE __m512i scale(__m512i scales, int step) {
    return scales_by_32(scales, step, 2);
  }
};

struct IQ3_S {
  static constexpr int kBytes = 110;
  static constexpr float kUnit = 1.0f;
  REALM_KERNEL_INLINE __m512i codes(const uint8_t* p, int step) {
    uint16_t ninth;
    memcpy(&ninth, p + 66 + 2 * step, 2);
    const __m512i low = _mm512_cvtepu8_epi32(load_16(p + 2 + 16 * step));
    return entries(kIq3SGrid.entries,
                   _mm512_mask_or_epi32(low, ninth, low, _mm512_set1_epi32(256)));
  }
  REALM_KERNEL_INLINE Signs signs(const uint8_t* p) { return signs_of(load_32(p + 74)); }
  REALM_KERNEL_INLINE __m512i scales(const uint8_t* p) {
    int32_t packed;
    memcpy(&packed, p + 106, 4);
    return odd_nibbles(_mm_cvtsi32_si128(packed));
  }
  REALM_KERNEL_INLINE __m512i scale(__m512i scales, int step) {
    return scales_by_32(scales, step, 1);
  }
};

}  // namespace
}  // namespace realm::cpu::avx512
