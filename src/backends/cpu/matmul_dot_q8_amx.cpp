// Few tokens with Q8_0 in stretches of 256 (q8_stretch_amx.h): a block of each of sixteen rows at a
// time, straight from memory, as in matmul_dot_small_avx512.cpp.
#define REALM_ISA amx
#include "backends/cpu/dot_avx512.h"
#include "backends/cpu/matmul_amx.h"
#include "backends/cpu/q8_stretch_amx.h"

namespace realm::cpu::amx {
namespace {

constexpr int kMaxTokens = 4;  // of one pass over the weights

// The scales of a block of each of sixteen rows: lane i is row i's.
REALM_KERNEL_INLINE __m512 load_scales(const uint8_t* blocks, __m512i row_at) {
  const __m512i dwords = _mm512_i32gather_epi32(row_at, blocks, 1);
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(dwords));
}

template <int kTokens>
void dot_stretches(const WeightRows& weights, const QuantizedTokens& x, float* out,
                   int64_t out_stride) {
  const int64_t stretches = weights.k / 256;
  for (int first = 0; first < weights.num_rows; first += 16) {
    const avx512::RowGroup<16> rows(weights, first);
    alignas(64) int32_t distances[16];
    for (int r = 0; r < 16; ++r) distances[r] = static_cast<int32_t>(rows.row[r] - rows.row[0]);
    const __m512i row_at = _mm512_load_si512(distances);
    __m512 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
    // The next stretch's scales, of which the largest is needed first, come with this one's blocks.
    __m512 d[8], largest = _mm512_setzero_ps();
    for (int j = 0; j < 8; ++j) {
      d[j] = load_scales(rows.row[0] + j * kQ8Bytes, row_at);
      largest = q8_larger(largest, d[j]);
    }
    for (int64_t b = 0; b < stretches; ++b) {
      const __m512 inverse = q8_inverse(largest), factor = q8_factor(largest);
      const uint8_t* next =
          rows.row[0] + (b + 1 < stretches ? b + 1 : b) * int64_t{kQ8StretchBytes};
      largest = _mm512_setzero_ps();
      __m512i sums[kTokens];
      alignas(32) int32_t offsets[kTokens][8];  // what the 128 that are added to codes add to sums
      for (int t = 0; t < kTokens; ++t) {
        sums[t] = _mm512_setzero_si512();
        const __m256i of_x = avx512::load_32(x.sums + t * (x.k / 16) + 16 * b);
        _mm256_store_si256(reinterpret_cast<__m256i*>(offsets[t]),
                           _mm256_madd_epi16(of_x, _mm256_set1_epi16(128)));
      }
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        const int64_t block = 8 * b + j;
        avx512::prefetch_next<16 * kQ8Bytes>(rows.next + 16 * block * kQ8Bytes);
        __m512i w[8];
        avx512::load_biased(rows, block * kQ8Bytes + 2, w);
        const __m512i scale = q8_scales(d[j], inverse);
        d[j] = load_scales(next + j * kQ8Bytes, row_at);
        largest = q8_larger(largest, d[j]);
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) {
          const __m512i sum =
              _mm512_sub_epi32(avx512::sum_biased(w, x.codes + t * x.k + 32 * block),
                               _mm512_set1_epi32(offsets[t][j]));
          sums[t] = _mm512_add_epi32(sums[t], _mm512_mullo_epi32(sum, scale));
        }
      }
      for (int t = 0; t < kTokens; ++t) {
        const __m512 dx = _mm512_set1_ps(x.scales[t * stretches + b]);
        acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(factor, dx), _mm512_cvtepi32_ps(sums[t]), acc[t]);
      }
    }
    const auto mask = static_cast<__mmask16>((1u << rows.count) - 1);
    for (int t = 0; t < kTokens; ++t) {
      _mm512_mask_storeu_ps(out + t * out_stride + first, mask, acc[t]);
    }
  }
}

}  // namespace

void dot_q8(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
            int64_t out_stride) {
  using Pass = decltype(&dot_stretches<1>);
  static constexpr Pass kPasses[kMaxTokens] = {dot_stretches<1>, dot_stretches<2>, dot_stretches<3>,
                                               dot_stretches<4>};
  for (int64_t t = 0; t < num_tokens; t += kMaxTokens) {
    const int64_t count = num_tokens - t < kMaxTokens ? num_tokens - t : kMaxTokens;
    kPasses[count - 1](weights, avx512::from_token(x, t), out + t * out_stride, out_stride);
  }
}

}  // namespace realm::cpu::amx
