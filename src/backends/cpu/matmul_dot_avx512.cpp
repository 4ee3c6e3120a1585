// Few tokens on AVX-512 VNNI: weights are read once, straight from their packed blocks, and the
// product is bound by memory as long as a block takes fewer cycles than its bytes take to arrive.
// Integer sums of 16 rows are reduced together, so that the float part has one lane a row, in the
// same order as the panel kernel. Here: the K formats and IQ4_XS; blocks of 32 are in
// matmul_dot_small_avx512.cpp, codebooks in matmul_dot_codebook_avx512.cpp.
#include "backends/cpu/dot_avx512.h"
#include "backends/cpu/matmul_avx2.h"
#include "backends/cpu/matmul_avx512.h"
#include "formats/quant/codebooks.h"
#include "formats/quant/iq4_xs.h"
#include "formats/quant/q2_k.h"
#include "formats/quant/q3_k.h"

namespace realm::cpu::avx512 {
namespace {

constexpr int kMaxTokens = 4;  // of one pass over the weights

// A block's codes in four registers, as magnitudes and signs where the format is signed.
struct BlockCodes {
  __m512i q[4];
  __mmask64 negative[4];
};

// Lane i of the result is the sum of the four dwords at p[(i % 4) * 4 + i / 4].
REALM_KERNEL_INLINE __m512i reduce_quads(const __m128i* p) {
  const __m512i a = load_64(p), b = load_64(p + 4), c = load_64(p + 8), d = load_64(p + 12);
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

REALM_KERNEL_INLINE __m128i sum_halves(__m256i a) {
  return _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
}

// Q4_K and Q5_K: 6-bit scales and minima of eight sub-blocks of 32.
template <bool kFifthBit>
struct KWithMin {
  static constexpr int kBytes = kFifthBit ? 176 : 144;
  static constexpr bool kMin = true, kSigned = false;
  static constexpr int kBiasBits = 0;  // codes are stored with 2^kBiasBits added; 0: with nothing
  static constexpr int kCodes = kFifthBit ? 48 : 16;

  // Four registers of activations in the order of codes().
  REALM_KERNEL_INLINE void arrange(const int8_t* x, __m512i* out) {
    for (int i = 0; i < 2; ++i) {
      out[2 * i] = halves(load_32(x + 128 * i), load_32(x + 128 * i + 64));
      out[2 * i + 1] = halves(load_32(x + 128 * i + 32), load_32(x + 128 * i + 96));
    }
  }
  REALM_KERNEL_INLINE void codes(const uint8_t* p, BlockCodes& block) {
    __m512i* const q = block.q;
    const __m512i nibble = _mm512_set1_epi8(15);
    for (int i = 0; i < 2; ++i) {
      const __m512i packed = load_64(p + kCodes + 64 * i);
      q[2 * i] = _mm512_and_si512(packed, nibble);
      q[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
    }
    if constexpr (kFifthBit) {
      // Bit j of each byte of qh is the fifth bit of sub-block j.
      const __m512i high = _mm512_broadcast_i64x4(load_32(p + 16));
      const __m512i bit = _mm512_set1_epi8(16);
      const __m512i two = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
      const __m512i spread = _mm512_srlv_epi16(high, two);  // sub-blocks j | j + 2 at bit j
      q[0] = _mm512_or_si512(q[0], _mm512_and_si512(_mm512_slli_epi16(spread, 4), bit));
      q[1] = _mm512_or_si512(q[1], _mm512_and_si512(_mm512_slli_epi16(spread, 3), bit));
      q[2] = _mm512_or_si512(q[2], _mm512_and_si512(spread, bit));
      q[3] = _mm512_or_si512(q[3], _mm512_and_si512(_mm512_srli_epi16(spread, 1), bit));
    }
  }
  REALM_KERNEL_INLINE void scales(const uint8_t* p, __m512i* s, __m256i& mins) {
    uint32_t a, b, c;
    memcpy(&a, p + 4, 4), memcpy(&b, p + 8, 4), memcpy(&c, p + 12, 4);
    const uint64_t scale_hi = (c & 0x0f0f0f0fu) | ((a >> 2) & 0x30303030u);
    const uint64_t min_hi = ((c >> 4) & 0x0f0f0f0fu) | ((b >> 2) & 0x30303030u);
    const uint64_t scale_bytes = (a & 0x3f3f3f3fu) | (scale_hi << 32);
    const uint64_t min_bytes = (b & 0x3f3f3f3fu) | (min_hi << 32);
    const __m512i words = _mm512_castsi128_si512(
        _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(scale_bytes))));
    s[0] = _mm512_permutexvar_epi16(words_index(0, 0, 2, 2), words);
    s[1] = _mm512_permutexvar_epi16(words_index(1, 1, 3, 3), words);
    s[2] = _mm512_permutexvar_epi16(words_index(4, 4, 6, 6), words);
    s[3] = _mm512_permutexvar_epi16(words_index(5, 5, 7, 7), words);
    mins = _mm256_castsi128_si256(
        _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(min_bytes))));
  }
  // Sums of activations per sub-block of 32, as words.
  REALM_KERNEL_INLINE __m256i sums(const int16_t* sums16) {
    const __m256i all = load_32(sums16);
    const __m256i pairs = _mm256_madd_epi16(all, _mm256_set1_epi16(1));
    return _mm256_castsi128_si256(_mm256_cvtepi32_epi16(pairs));
  }
  REALM_KERNEL_INLINE __m128i min_products(__m256i mins, __m256i sums_words) {
    return _mm_madd_epi16(_mm256_castsi256_si128(mins), _mm256_castsi256_si128(sums_words));
  }
  REALM_KERNEL_INLINE uint32_t factors(const uint8_t* p) {  // d, dmin
    uint32_t both;
    memcpy(&both, p, 4);
    return both;
  }
};

// Q6_K: signed scales of sixteen sub-blocks of 16; codes are stored with +32, which is taken back
// through the sums of the activations.
struct Q6_K {
  static constexpr int kBytes = 210;
  static constexpr bool kMin = false, kSigned = false;
  static constexpr int kBiasBits = 5;

  REALM_KERNEL_INLINE void arrange(const int8_t* x, __m512i* out) {
    for (int i = 0; i < 4; ++i) out[i] = load_64(x + 64 * i);
  }
  REALM_KERNEL_INLINE void codes(const uint8_t* p, BlockCodes& block) {
    __m512i* const q = block.q;
    const __m512i nibble = _mm512_set1_epi8(15), upper = _mm512_set1_epi8(0x30);
    const __m512i shift_low = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
    const __m512i shift_high = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    for (int i = 0; i < 2; ++i) {
      const __m512i low = load_64(p + 64 * i);
      const __m512i high = _mm512_broadcast_i64x4(load_32(p + 128 + 32 * i));
      q[2 * i] = _mm512_or_si512(_mm512_and_si512(low, nibble),
                                 _mm512_and_si512(_mm512_sllv_epi16(high, shift_low), upper));
      q[2 * i + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(low, 4), nibble),
                                     _mm512_and_si512(_mm512_srlv_epi16(high, shift_high), upper));
    }
  }
  REALM_KERNEL_INLINE void scales(const uint8_t* p, __m512i* s, __m256i& mins) {
    mins = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 192)));
    const __m512i words = _mm512_castsi256_si512(mins);
    for (int i = 0; i < 4; ++i) {
      s[i] = _mm512_permutexvar_epi16(words_index(4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3), words);
    }
  }
  REALM_KERNEL_INLINE __m256i sums(const int16_t* sums16) { return load_32(sums16); }
  REALM_KERNEL_INLINE __m128i min_products(__m256i scales_words, __m256i sums_words) {
    return sum_halves(_mm256_madd_epi16(scales_words, sums_words));
  }
  REALM_KERNEL_INLINE uint32_t factors(const uint8_t* p) { return half_bits(p + 208); }
};

// Q2_K and Q3_K: two bits a code, of four stretches of 32 elements in each half's bytes, and
// sixteen sub-blocks of 16. A register has a stretch of both halves.
struct TwoBits {
  REALM_KERNEL_INLINE void arrange(const int8_t* x, __m512i* out) {
    for (int i = 0; i < 4; ++i) out[i] = halves(load_32(x + 32 * i), load_32(x + 128 + 32 * i));
  }
  REALM_KERNEL_INLINE void low_bits(const uint8_t* p, __m512i* q) {
    const __m512i packed = load_64(p), mask = _mm512_set1_epi8(3);
    q[0] = _mm512_and_si512(packed, mask);
    q[1] = _mm512_and_si512(_mm512_srli_epi16(packed, 2), mask);
    q[2] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
    q[3] = _mm512_and_si512(_mm512_srli_epi16(packed, 6), mask);
  }
  REALM_KERNEL_INLINE void spread_scales(__m256i scales_words, __m512i* s) {
    const __m512i words = _mm512_castsi256_si512(scales_words);
    for (int i = 0; i < 4; ++i) {
      s[i] = _mm512_permutexvar_epi16(words_index(2 * i, 2 * i + 1, 8 + 2 * i, 9 + 2 * i), words);
    }
  }
  REALM_KERNEL_INLINE __m256i sums(const int16_t* sums16) { return load_32(sums16); }
  REALM_KERNEL_INLINE __m128i min_products(__m256i words, __m256i sums_words) {
    return sum_halves(_mm256_madd_epi16(words, sums_words));
  }
};

// 4-bit scales and minima.
struct Q2_K : TwoBits {
  static constexpr int kBytes = sizeof(BlockQ2_K);
  static constexpr bool kMin = true, kSigned = false;
  static constexpr int kBiasBits = 0;

  REALM_KERNEL_INLINE void codes(const uint8_t* p, BlockCodes& block) {
    low_bits(p + offsetof(BlockQ2_K, qs), block.q);
  }
  REALM_KERNEL_INLINE void scales(const uint8_t* p, __m512i* s, __m256i& mins) {
    const __m128i both =
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + offsetof(BlockQ2_K, scales)));
    const __m128i nibble = _mm_set1_epi8(15);
    spread_scales(_mm256_cvtepu8_epi16(_mm_and_si128(both, nibble)), s);
    mins = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(both, 4), nibble));
  }
  REALM_KERNEL_INLINE uint32_t factors(const uint8_t* p) {  // d, dmin
    static_assert(offsetof(BlockQ2_K, dmin) == offsetof(BlockQ2_K, d) + 2);
    uint32_t both;
    memcpy(&both, p + offsetof(BlockQ2_K, d), 4);
    return both;
  }
};

// Signed 6-bit scales; codes of 3 bits are stored with +4.
struct Q3_K : TwoBits {
  static constexpr int kBytes = sizeof(BlockQ3_K);
  static constexpr bool kMin = false, kSigned = false;
  static constexpr int kBiasBits = 2;

  REALM_KERNEL_INLINE void codes(const uint8_t* p, BlockCodes& block) {
    __m512i* const q = block.q;
    low_bits(p + offsetof(BlockQ3_K, qs), q);
    // Bit j of each byte is the third bit of stretch j, those of the upper half come after four.
    const __m512i high = _mm512_broadcast_i64x4(load_32(p + offsetof(BlockQ3_K, hmask)));
    const __m512i four = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    const __m512i spread = _mm512_srlv_epi16(high, four), bit = _mm512_set1_epi8(4);
    q[0] = _mm512_or_si512(q[0], _mm512_and_si512(_mm512_slli_epi16(spread, 2), bit));
    q[1] = _mm512_or_si512(q[1], _mm512_and_si512(_mm512_slli_epi16(spread, 1), bit));
    q[2] = _mm512_or_si512(q[2], _mm512_and_si512(spread, bit));
    q[3] = _mm512_or_si512(q[3], _mm512_and_si512(_mm512_srli_epi16(spread, 1), bit));
  }
  REALM_KERNEL_INLINE void scales(const uint8_t* p, __m512i* s, __m256i& mins) {
    uint64_t low;
    uint32_t high;
    memcpy(&low, p + offsetof(BlockQ3_K, scales), 8);
    memcpy(&high, p + offsetof(BlockQ3_K, scales) + 8, 4);
    const __m128i lows = _mm_cvtsi64_si128(static_cast<long long>(low));
    const __m128i nibbles =
        _mm_and_si128(_mm_unpacklo_epi64(lows, _mm_srli_epi16(lows, 4)), _mm_set1_epi8(15));
    const __m128i highs =
        _mm_srlv_epi32(_mm_set1_epi32(static_cast<int>(high)), _mm_setr_epi32(0, 2, 4, 6));
    const __m128i tops = _mm_slli_epi16(_mm_and_si128(highs, _mm_set1_epi8(3)), 4);
    const __m128i bytes = _mm_sub_epi8(_mm_or_si128(nibbles, tops), _mm_set1_epi8(32));
    mins = _mm256_cvtepi8_epi16(bytes);
    spread_scales(mins, s);
  }
  REALM_KERNEL_INLINE uint32_t factors(const uint8_t* p) {
    return half_bits(p + offsetof(BlockQ3_K, d));
  }
};

// IQ4_XS: sixteen signed values, signed 6-bit scales of eight sub-blocks of 32.
struct IQ4_XS {
  static constexpr int kBytes = sizeof(BlockIQ4_XS);
  static constexpr bool kMin = false, kSigned = true;
  static constexpr int kBiasBits = 0;

  REALM_KERNEL_INLINE void arrange(const int8_t* x, __m512i* out) {
    for (int i = 0; i < 4; ++i) out[i] = load_64(x + 64 * i);
  }
  REALM_KERNEL_INLINE void codes(const uint8_t* p, BlockCodes& block) {
    const __m512i twice = _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3);
    const __m512i shift = _mm512_setr_epi64(0, 0, 0x0004000400040004, 0x0004000400040004, 0, 0,
                                            0x0004000400040004, 0x0004000400040004);
    const __m512i nibble = _mm512_set1_epi8(15), upper = _mm512_set1_epi8(8);
    const __m512i sizes = _mm512_broadcast_i32x4(
        _mm_abs_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4Values))));
    for (int i = 0; i < 4; ++i) {
      const __m512i packed =
          _mm512_castsi256_si512(load_32(p + offsetof(BlockIQ4_XS, qs) + 32 * i));
      const __m512i index = _mm512_and_si512(
          _mm512_srlv_epi16(_mm512_permutexvar_epi64(twice, packed), shift), nibble);
      block.q[i] = _mm512_shuffle_epi8(sizes, index);
      block.negative[i] = _mm512_testn_epi8_mask(index, upper);  // the first eight values are
    }
  }
  REALM_KERNEL_INLINE void scales(const uint8_t* p, __m512i* s, __m256i& mins) {
    uint32_t low;
    memcpy(&low, p + offsetof(BlockIQ4_XS, scales_l), 4);
    const uint16_t high = half_bits(p + offsetof(BlockIQ4_XS, scales_h));
    // A scale a word: nibbles of `low`, pairs of bits of `high`.
    const __m128i bytes = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(static_cast<int>(low)));
    const __m128i nibbles = _mm_and_si128(
        _mm_srlv_epi16(_mm_unpacklo_epi16(bytes, bytes), _mm_setr_epi16(0, 4, 0, 4, 0, 4, 0, 4)),
        _mm_set1_epi16(15));
    const __m128i tops = _mm_and_si128(_mm_srlv_epi16(_mm_set1_epi16(static_cast<short>(high)),
                                                      _mm_setr_epi16(0, 2, 4, 6, 8, 10, 12, 14)),
                                       _mm_set1_epi16(3));
    const __m512i words = _mm512_castsi128_si512(
        _mm_sub_epi16(_mm_or_si128(nibbles, _mm_slli_epi16(tops, 4)), _mm_set1_epi16(32)));
    for (int i = 0; i < 4; ++i) {
      s[i] = _mm512_permutexvar_epi16(words_index(2 * i, 2 * i, 2 * i + 1, 2 * i + 1), words);
    }
    mins = _mm256_setzero_si256();
  }
  REALM_KERNEL_INLINE __m256i sums(const int16_t*) { return _mm256_setzero_si256(); }
  REALM_KERNEL_INLINE __m128i min_products(__m256i, __m256i) { return _mm_setzero_si128(); }
  REALM_KERNEL_INLINE uint32_t factors(const uint8_t* p) {
    return half_bits(p + offsetof(BlockIQ4_XS, d));
  }
};

template <typename Format, int kTokens>
void dot_super(const WeightRows& weights, const QuantizedTokens& x, float* out,
               int64_t out_stride) {
  constexpr bool kHasMinima = Format::kMin || Format::kBiasBits > 0;
  const int64_t blocks = weights.k / 256;
  for (int first = 0; first < weights.num_rows; first += 16) {
    const RowGroup<16> rows(weights, first);
    __m512 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
    for (int64_t b = 0; b < blocks; ++b) {
      __m512i xs[kTokens][4], partial[kTokens][16];
      __m256i sums[kTokens];
      alignas(64) __m128i minima[kTokens][16];
      alignas(64) uint32_t factors[16];
      for (int t = 0; t < kTokens; ++t) {
        Format::arrange(x.codes + t * x.k + 256 * b, xs[t]);
        sums[t] = Format::sums(x.sums + t * (x.k / 16) + 16 * b);
      }
      for (int r = 0; r < 16; ++r) {
        const uint8_t* p = rows.row[r] + b * Format::kBytes;
        prefetch_next<Format::kBytes>(rows.next + (16 * b + r) * Format::kBytes);
        BlockCodes block;
        __m512i s[4];
        __m256i mins;
        Format::codes(p, block);
        Format::scales(p, s, mins);
        factors[r] = Format::factors(p);
        for (int t = 0; t < kTokens; ++t) {
          __m512i sum = _mm512_setzero_si512();
          for (int i = 0; i < 4; ++i) {
            __m512i signed_x = xs[t][i];
            if constexpr (Format::kSigned) {
              signed_x = _mm512_mask_sub_epi8(signed_x, block.negative[i], _mm512_setzero_si512(),
                                              signed_x);
            }
            sum = _mm512_dpwssd_epi32(sum, _mm512_maddubs_epi16(block.q[i], signed_x), s[i]);
          }
          partial[t][r] = sum;
          if constexpr (kHasMinima) {
            minima[t][(r % 4) * 4 + r / 4] = Format::min_products(mins, sums[t]);
          }
        }
      }
      const __m512i both = load_64(factors);
      const __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(both));
      for (int t = 0; t < kTokens; ++t) {
        const __m512 dx = _mm512_set1_ps(x.scales[t * blocks + b]);
        __m512i isum = reduce_16(partial[t]);
        const __m512i msum = kHasMinima ? reduce_quads(minima[t]) : _mm512_setzero_si512();
        if constexpr (Format::kMin) {
          const __m512 dmin = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16)));
          acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(isum), acc[t]);
          acc[t] = _mm512_fnmadd_ps(_mm512_mul_ps(dmin, dx), _mm512_cvtepi32_ps(msum), acc[t]);
        } else {
          if constexpr (Format::kBiasBits > 0) {
            isum = _mm512_sub_epi32(isum, _mm512_slli_epi32(msum, Format::kBiasBits));
          }
          acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(isum), acc[t]);
        }
      }
    }
    const __mmask16 mask = static_cast<__mmask16>((1u << rows.count) - 1);
    for (int t = 0; t < kTokens; ++t) {
      _mm512_mask_storeu_ps(out + t * out_stride + first, mask, acc[t]);
    }
  }
}

// ---- Passes over the tokens -------------------------------------------------------------------

template <typename Format>
void pass_super(const WeightRows& weights, const QuantizedTokens& x, int64_t count, float* out,
                int64_t out_stride) {
  switch (count) {
    case 1:
      return dot_super<Format, 1>(weights, x, out, out_stride);
    case 2:
      return dot_super<Format, 2>(weights, x, out, out_stride);
    case 3:
      return dot_super<Format, 3>(weights, x, out, out_stride);
    default:
      return dot_super<Format, 4>(weights, x, out, out_stride);
  }
}

using Pass = void (*)(const WeightRows& weights, const QuantizedTokens& x, int64_t count,
                      float* out, int64_t out_stride);

Pass super_pass(DType type) {
  switch (type) {
    case DType::kQ4_K:
      return pass_super<KWithMin<false>>;
    case DType::kQ5_K:
      return pass_super<KWithMin<true>>;
    case DType::kQ6_K:
      return pass_super<Q6_K>;
    case DType::kQ2_K:
      return pass_super<Q2_K>;
    case DType::kQ3_K:
      return pass_super<Q3_K>;
    case DType::kIQ4_XS:
      return pass_super<IQ4_XS>;
    default:
      return nullptr;
  }
}

void dot_of(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
            int64_t out_stride, uint8_t* scratch, bool gathers) {
  if (has_codebook(weights.format->type)) {
    return dot_codebook(weights, x, num_tokens, out, out_stride);
  }
  if (dot_small(weights, x, num_tokens, out, out_stride, scratch, gathers)) return;
  const Pass pass = super_pass(weights.format->type);
  if (pass == nullptr) {
    // What 512-bit registers have no direct kernel for, those of half the width do.
    return avx2::dot(weights, x, num_tokens, out, out_stride, scratch);
  }
  for (int64_t t = 0; t < num_tokens; t += kMaxTokens) {
    const int64_t count = num_tokens - t < kMaxTokens ? num_tokens - t : kMaxTokens;
    pass(weights, from_token(x, t), count, out + t * out_stride, out_stride);
  }
}

}  // namespace

bool has_direct_dot(DType type) {
  return has_codebook(type) || has_small_dot(type) || super_pass(type) != nullptr;
}

int64_t dot_scratch_bytes() {
  return small_dot_scratch_bytes();
}

void dot(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
         int64_t out_stride, uint8_t* scratch) {
  dot_of(weights, x, num_tokens, out, out_stride, scratch, false);
}

void dot_gathering(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                   float* out, int64_t out_stride, uint8_t* scratch) {
  dot_of(weights, x, num_tokens, out, out_stride, scratch, true);
}

}  // namespace realm::cpu::avx512

namespace realm::cpu {

const MatMulKernels* avx512_matmul_kernels() {
  static const MatMulKernels kernels = {
      .dot = avx512::dot,
      .panel = avx512::panel,
      .scratch_bytes =
          [](int64_t num_tokens) {
            const int64_t a = avx512::panel_scratch_bytes(num_tokens);
            const int64_t b = avx512::dot_scratch_bytes();
            return a > b ? a : b;
          },
      // Measured on Emerald Rapids, rows of 2048 in the cache: where one more pass over the packed
      // blocks costs more than unpacking them once.
      .panel_from =
          [](DType type) {
            if (avx512::has_codebook(type)) return int64_t{9};
            if (!avx512::has_direct_dot(type)) return int64_t{4};
            return find_block_format(type)->block_elements == 256 ? int64_t{11} : int64_t{5};
          },
      .token_layout = [](DType, int) { return avx512::biased_tokens(); },
      .activation_group = [](const BlockFormat& format, int64_t) { return block_group(format); },
      .float_panel = [](DType) { return avx512::float_panel(); },
  };
  return &kernels;
}

}  // namespace realm::cpu
