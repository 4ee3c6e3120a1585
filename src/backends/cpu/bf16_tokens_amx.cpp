// Tokens as the columns of bfloat16 tiles (bf16_tiles_amx.h).
#include <immintrin.h>

#include "backends/cpu/bf16_tiles_amx.h"
#include "backends/cpu/transpose_avx512.h"

#define REALM_INLINE static inline __attribute__((always_inline))

namespace realm::cpu::amx {
namespace {

// Sixteen floats, each with a bfloat16 in its upper half, the lower one zero.
REALM_INLINE __m512i nearest_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  // From 2^127 on rounding could overflow, and would change what is not finite.
  const __m512i size = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
  const __mmask16 large = _mm512_cmpge_epi32_mask(size, _mm512_set1_epi32(0x7f000000));
  rounded = _mm512_mask_mov_epi32(rounded, large, bits);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, rounded, _mm512_set1_epi32(0x00400000));
  return _mm512_and_si512(rounded, _mm512_set1_epi32(static_cast<int>(0xffff0000)));
}

REALM_INLINE __m512i what_is_left(__m512 x, __m512i high) {
  const __m512i size = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
  const __mmask16 finite = _mm512_cmplt_epi32_mask(size, _mm512_set1_epi32(0x7f800000));
  return nearest_bf16(_mm512_maskz_sub_ps(finite, x, _mm512_castsi512_ps(high)));
}

// The upper halves of 32 lanes.
REALM_INLINE __m512i upper_halves(__m512i first, __m512i second) {
  const __m256i a = _mm512_cvtepi32_epi16(_mm512_srli_epi32(first, 16));
  const __m256i b = _mm512_cvtepi32_epi16(_mm512_srli_epi32(second, 16));
  return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

REALM_INLINE __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffffu : count > 0 ? (1u << count) - 1 : 0u);
}

// The parts of a block of which `left` elements are there, as pairs.
REALM_INLINE void split(const float* x, int64_t left, __m512i& high, __m512i& low) {
  const __m512 a = _mm512_maskz_loadu_ps(first_lanes(left), x);
  const __m512 b =
      left <= 16 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(first_lanes(left - 16), x + 16);
  const __m512i high_a = nearest_bf16(a), high_b = nearest_bf16(b);
  high = upper_halves(high_a, high_b);
  low = upper_halves(what_is_left(a, high_a), what_is_left(b, high_b));
}

void pack(const float* x, int64_t stride, int count, int64_t k, bool both, Bf16Tokens* to) {
  for (int64_t at = 0; at < k; at += kBf16K) {
    __m512i high[kBf16Tokens], low[kBf16Tokens];
    for (int t = 0; t < kBf16Tokens; ++t) {
      high[t] = low[t] = _mm512_setzero_si512();
      if (t < count) split(x + t * stride + at, k - at, high[t], low[t]);
    }
    transpose_16x16(high);
    for (int p = 0; p < kBf16K / 2; ++p) _mm512_store_si512(to->of[p], high[p]);
    ++to;
    if (!both) continue;
    transpose_16x16(low);
    for (int p = 0; p < kBf16K / 2; ++p) _mm512_store_si512(to->of[p], low[p]);
    ++to;
  }
}

void pack_narrow(const float* x, int64_t stride, int count, int64_t k, bool both, uint16_t* to) {
  const __mmask16 columns = first_lanes(count);
  for (int64_t at = 0; at < k; at += kBf16K) {
    __m512i parts[2][kBf16Tokens];
    for (int t = 0; t < count; ++t) {
      split(x + t * stride + at, k - at, parts[0][t], parts[1][t]);
    }
    for (int part = 0; part < (both ? 2 : 1); ++part) {
      if (count > 1) {
        for (int t = count; t < kBf16Tokens; ++t) parts[part][t] = _mm512_setzero_si512();
        transpose_16x16(parts[part]);
        for (int p = 0; p < kBf16K / 2; ++p, to += 2 * count) {
          _mm512_mask_storeu_epi32(to, columns, parts[part][p]);
        }
      } else {
        _mm512_storeu_si512(to, parts[part][0]);
        to += kBf16K;
      }
    }
  }
}

}  // namespace

void pack_bf16_tokens(const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t tile,
                      Bf16Parts parts, Bf16Tokens* to) {
  const int64_t first = tile * kBf16Tokens, left = num_tokens - first;
  const int count = left < kBf16Tokens ? static_cast<int>(left) : kBf16Tokens;
  pack(x + first * stride, stride, count, k, parts == Bf16Parts::kHighLow,
       to + bf16_tokens_at(k, tile, 0, parts));
}

void pack_narrow_bf16_tokens(const float* x, int64_t stride, int64_t num_tokens, int64_t k,
                             Bf16Parts parts, uint16_t* to) {
  pack_narrow(x, stride, static_cast<int>(num_tokens), k, parts == Bf16Parts::kHighLow, to);
}

}  // namespace realm::cpu::amx
