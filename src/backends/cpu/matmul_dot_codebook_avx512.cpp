// Few tokens with weights that are codebook entries, on AVX-512: signs are masks under which
// activations are negated. What bounds it is the gathering of entries, not memory: 256 elements are
// 66 to 110 bytes.
#include "backends/cpu/codebook_avx512.h"
#include "backends/cpu/matmul_avx512.h"

namespace realm::cpu::avx512 {
namespace {

constexpr int kMaxTokens = 4;  // of one pass over the weights

template <typename Format, int kTokens>
void dot_tokens(const WeightRows& weights, const QuantizedTokens& x, float* out,
                int64_t out_stride) {
  const int64_t blocks = weights.k / 256;
  for (int first = 0; first < weights.num_rows; first += 16) {
    const RowGroup<16> rows(weights, first);
    __m512 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
    for (int64_t b = 0; b < blocks; ++b) {
      __m512i partial[kTokens][16];
      alignas(32) uint16_t d[16];
      for (int r = 0; r < 16; ++r) {
        const uint8_t* p = rows.row[r] + b * Format::kBytes;
        prefetch_next<Format::kBytes>(rows.next + (16 * b + r) * Format::kBytes);
        d[r] = half_bits(p);
        const Signs signs = Format::signs(p);
        const __m512i scales = Format::scales(p);
        for (int t = 0; t < kTokens; ++t) partial[t][r] = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int step = 0; step < 4; ++step) {
          const __m512i codes = Format::codes(p, step);
          const __m512i scale = Format::scale(scales, step);
#pragma GCC unroll 4
          for (int t = 0; t < kTokens; ++t) {
            const __m512i xt = load_64(x.codes + t * x.k + 256 * b + 64 * step);
            const __m512i with_signs =
                _mm512_mask_sub_epi8(xt, signs.of[step], _mm512_setzero_si512(), xt);
            partial[t][r] =
                _mm512_dpwssd_epi32(partial[t][r], _mm512_maddubs_epi16(codes, with_signs), scale);
          }
        }
      }
      const __m512 factors =
          _mm512_mul_ps(_mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(d))),
                        _mm512_set1_ps(Format::kUnit));
      for (int t = 0; t < kTokens; ++t) {
        const __m512 scale = _mm512_mul_ps(factors, _mm512_set1_ps(x.scales[t * blocks + b]));
        acc[t] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(reduce_16(partial[t])), acc[t]);
      }
    }
    const __mmask16 mask = static_cast<__mmask16>((1u << rows.count) - 1);
    for (int t = 0; t < kTokens; ++t) {
      _mm512_mask_storeu_ps(out + t * out_stride + first, mask, acc[t]);
    }
  }
}

using Pass = void (*)(const WeightRows& weights, const QuantizedTokens& x, float* out,
                      int64_t out_stride);

template <typename Format>
Pass pass_of(int64_t tokens) {
  static constexpr Pass kPasses[kMaxTokens] = {dot_tokens<Format, 1>, dot_tokens<Format, 2>,
                                               dot_tokens<Format, 3>, dot_tokens<Format, 4>};
  return kPasses[tokens - 1];
}

using PassOf = Pass (*)(int64_t tokens);

PassOf passes_of(DType type) {
  switch (type) {
    case DType::kIQ2_XXS:
      return pass_of<IQ2_XXS>;
    case DType::kIQ2_XS:
      return pass_of<IQ2_XS>;
    case DType::kIQ2_S:
      return pass_of<IQ2_S>;
    case DType::kIQ3_XXS:
      return pass_of<IQ3_XXS>;
    case DType::kIQ3_S:
      return pass_of<IQ3_S>;
    default:
      return nullptr;
  }
}

}  // namespace

bool has_codebook(DType type) {
  return passes_of(type) != nullptr;
}

void dot_codebook(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                  float* out, int64_t out_stride) {
  const PassOf passes = passes_of(weights.format->type);
  for (int64_t t = 0; t < num_tokens; t += kMaxTokens) {
    const int64_t count = num_tokens - t < kMaxTokens ? num_tokens - t : kMaxTokens;
    passes(count)(weights, from_token(x, t), out + t * out_stride, out_stride);
  }
}

}  // namespace realm::cpu::avx512
