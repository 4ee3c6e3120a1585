// Formats with blocks of 32 in stretches of 256 elements, as the AMX backend takes them where k is
// a multiple of 256: as the formats with blocks of that size. Activations are quantized in groups
// of 256, and the eight blocks' scales are integers with one factor, so that integers add up over
// the whole stretch:
//   s_j = round(kLargest * d_j / largest |d|)       0 where the largest is below 2^-100
//   acc = fma((largest |d| / kLargest) * dx, float(sum_j s_j * sum_i q_i x_i), acc)
// A weight is 1/510 of the stretch's largest one off at most (MXFP4, whose scales are powers of
// two: 1/256, and exact down to 1/128 of the largest scale). With a float factor for every 32
// elements, tiles of sums are given back eight times as often, which takes longer than the
// products.
//
// Included only by files that are compiled for AMX.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "backends/cpu/small_blocks_avx512.h"
#include "formats/dtype.h"

namespace realm::cpu::amx {
namespace {

// A format's stretch: its blocks as Format (small_blocks_avx512.h) has them, and
//   scales(p)        of the eight blocks at p, a word each; reads no byte outside them
//   kGathers         whether few tokens take them by gathers, which is measured
//   factors(words)   of sixteen such words

// What the panel kernels ask of a format with blocks of 256.
template <typename FormatOf>
struct Stretch {
  using Format = FormatOf;
  static constexpr int kElements = 256, kSub = 32;
  static constexpr int kBlockBytes = Format::kBytes, kBytes = 8 * kBlockBytes;
  static constexpr bool kHasMin = false;
};

template <typename FormatOf>
struct HalfStretch : Stretch<FormatOf> {
  static constexpr int kLargest = 255;
  REALM_KERNEL_INLINE __m512 factors(__m256i words) { return _mm512_cvtph_ps(words); }
};

struct StretchQ8_0 : HalfStretch<avx512::Q8_0> {
  static constexpr bool kGathers = true;
  REALM_KERNEL_INLINE __m128i scales(const uint8_t* p) {
    // Words 0 and 17 of every 64 bytes that begin with a pair of blocks.
    const __m512i from = _mm512_set1_epi32(17 << 16);
    __m512i s = _mm512_permutexvar_epi16(from, avx512::load_64(p));
    s = _mm512_mask_permutexvar_epi16(s, 0x0c, from, avx512::load_64(p + 2 * kBlockBytes));
    s = _mm512_mask_permutexvar_epi16(s, 0x30, from, avx512::load_64(p + 4 * kBlockBytes));
    s = _mm512_mask_permutexvar_epi16(s, 0xc0, from, avx512::load_64(p + 6 * kBlockBytes));
    return _mm512_castsi512_si128(s);
  }
};

template <typename FormatOf>
struct NibbleStretch : HalfStretch<FormatOf> {
  static constexpr bool kGathers = false;
  REALM_KERNEL_INLINE __m128i scales(const uint8_t* p) {
    static_assert(FormatOf::kBytes == 18);
    const __m512i from = _mm512_set1_epi64(0x001b001200090000);  // words 0, 9, 18, 27
    __m512i s = _mm512_permutexvar_epi16(from, avx512::load_64(p));
    s = _mm512_mask_permutexvar_epi16(s, 0xf0, from, avx512::load_64(p + 4 * FormatOf::kBytes));
    return _mm512_castsi512_si128(s);
  }
};
struct StretchQ4_0 : NibbleStretch<avx512::Q4_0> {};
struct StretchIQ4_NL : NibbleStretch<avx512::IQ4_NL> {};

struct StretchMXFP4 : Stretch<avx512::MXFP4> {
  static constexpr bool kGathers = false;
  static constexpr int kLargest = 128;
  REALM_KERNEL_INLINE __m128i scales(const uint8_t* p) {
    const __m512i from = _mm512_set1_epi64(0x0033002200110000);  // bytes 0, 17, 34, 51
    __m512i s = _mm512_maskz_permutexvar_epi8(0x5555, from, avx512::load_64(p));
    s = _mm512_mask_permutexvar_epi8(s, 0x5500, from, avx512::load_64(p + 4 * kBlockBytes));
    return _mm512_castsi512_si128(s);
  }
  REALM_KERNEL_INLINE __m512 factors(__m256i words) {
    return Format::factors(_mm512_cvtepu16_epi32(words));
  }
};

REALM_KERNEL_INLINE __m512 larger_size(__m512 largest, __m512 d) {
  constexpr int kWithoutSign = 0x0b;
  return _mm512_range_ps(d, largest, kWithoutSign);
}
template <typename S>
REALM_KERNEL_INLINE __m512 inverse_of(__m512 largest) {
  const __mmask16 some = _mm512_cmp_ps_mask(largest, _mm512_set1_ps(0x1p-100f), _CMP_GT_OQ);
  return _mm512_maskz_div_ps(some, _mm512_set1_ps(static_cast<float>(S::kLargest)), largest);
}
REALM_KERNEL_INLINE __m512i integer_scales(__m512 d, __m512 inverse) {
  return _mm512_cvtps_epi32(_mm512_mul_ps(d, inverse));
}
template <typename S>
REALM_KERNEL_INLINE __m512 factor_of(__m512 largest) {
  return _mm512_mul_ps(largest, _mm512_set1_ps(1.0f / static_cast<float>(S::kLargest)));
}

// Which formats go by stretches, for rows of k elements.
inline bool has_stretches(DType type) {
  return type == DType::kQ8_0 || type == DType::kQ4_0 || type == DType::kIQ4_NL ||
         type == DType::kMXFP4;
}
inline bool by_stretches(DType type, int group) {
  return group == 256 && has_stretches(type);
}

// Kernel<S>::run for a format that goes by stretches.
template <typename Function, template <typename> class Kernel>
Function stretch_kernel_for(DType type) {
  switch (type) {
    case DType::kQ8_0:
      return Kernel<StretchQ8_0>::run;
    case DType::kQ4_0:
      return Kernel<StretchQ4_0>::run;
    case DType::kIQ4_NL:
      return Kernel<StretchIQ4_NL>::run;
    default:
      return Kernel<StretchMXFP4>::run;
  }
}

}  // namespace
}  // namespace realm::cpu::amx
