// Few tokens with blocks of 32 on AVX-512 VNNI: a block of each of sixteen rows at a time, straight
// from memory. What a block costs decides whether memory is waited for (18 bytes arrive in 2.7
// cycles at 20 GB/s a core). Scales, which lie apart, are gathered where gathers are fast;
// elsewhere scalar instructions copy them some blocks ahead.
#include "backends/cpu/matmul_avx512.h"
#include "backends/cpu/small_blocks_avx512.h"

namespace realm::cpu::avx512 {
namespace {

constexpr int kMaxTokens = 8;  // of one pass over the weights
constexpr int kAhead = 8;      // blocks whose scales are copied at a time

// Of blocks [begin, begin + count), kUnrolled at a time.
template <typename Format, int kUnrolled>
REALM_KERNEL_INLINE void copy_scales(const Rows& rows, int64_t begin, int64_t count,
                                     typename Format::Scale (*scales)[16]) {
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) {
    const uint8_t* p = rows.row[r] + begin * Format::kBytes;
    for (int64_t b = 0; b < count; b += kUnrolled) {
#pragma GCC unroll 8
      for (int i = 0; i < kUnrolled; ++i) {
        scales[b + i][r] = Format::scale(p + (b + i) * Format::kBytes);
      }
    }
  }
}

template <typename Format, int kTokens, bool kGathers>
void dot_tokens(const WeightRows& weights, const QuantizedTokens& x, const int32_t* corrections,
                float* out, int64_t out_stride) {
  const int64_t blocks = weights.k / 32;
  for (int first = 0; first < weights.num_rows; first += 16) {
    const Rows rows(weights, first);
    alignas(64) int32_t row_at[16];
    for (int r = 0; r < 16; ++r) row_at[r] = static_cast<int32_t>(rows.row[r] - rows.row[0]);
    __m512 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
    for (int64_t begin = 0; begin < blocks; begin += kAhead) {
      const int64_t end = begin + kAhead < blocks ? begin + kAhead : blocks;
      alignas(64) typename Format::Scale scales[kAhead][16];
      if (kGathers) {
        // Below.
      } else if (end - begin == kAhead) {
        copy_scales<Format, kAhead>(rows, begin, kAhead, scales);
      } else {
        copy_scales<Format, 1>(rows, begin, end - begin, scales);
      }
      for (int64_t b = begin; b < end; ++b) {
        prefetch_next<16 * Format::kBytes>(rows.next + 16 * b * Format::kBytes);
        const BlockSums<Format, kTokens> sums(rows, b * Format::kBytes);
        __m512 d;
        if constexpr (kGathers) {
          const uint8_t* p = rows.row[0] + b * Format::kBytes;
          d = Format::factors(_mm512_i32gather_epi32(_mm512_load_si512(row_at), p, 1));
        } else {
          d = Format::factors(scales[b - begin]);
        }
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
          const __m512i sum = sums.add(corrections[t * blocks + b], x.codes + t * x.k + 32 * b);
          const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(x.scales[t * blocks + b]));
          acc[t] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum), acc[t]);
        }
      }
    }
    const auto mask = static_cast<__mmask16>((1u << rows.count) - 1);
    for (int t = 0; t < kTokens; ++t) {
      _mm512_mask_storeu_ps(out + t * out_stride + first, mask, acc[t]);
    }
  }
}

// What takes the codes' offset from the sum over each block: -offset * sum of activations.
void offset_sums(const int16_t* sums, int64_t blocks, int offset, int32_t* out) {
  for (int64_t b = 0; b < blocks; b += 16) {
    const __mmask16 some =
        blocks - b < 16 ? static_cast<__mmask16>((1u << (blocks - b)) - 1) : __mmask16{0xffff};
    const __m512i halves_of_sums = _mm512_maskz_loadu_epi32(some, sums + 2 * b);
    _mm512_mask_storeu_epi32(
        out + b, some,
        _mm512_madd_epi16(halves_of_sums, _mm512_set1_epi16(static_cast<short>(-offset))));
  }
}

using Pass = void (*)(const WeightRows& weights, const QuantizedTokens& x,
                      const int32_t* corrections, float* out, int64_t out_stride);
struct Kernels {
  Pass passes[2][kMaxTokens];  // [gathers][tokens - 1]
  int offset;
};
template <typename F>
const Kernels* kernels_of() {
  static constexpr Kernels kernels = {
      {{dot_tokens<F, 1, false>, dot_tokens<F, 2, false>, dot_tokens<F, 3, false>,
        dot_tokens<F, 4, false>, dot_tokens<F, 5, false>, dot_tokens<F, 6, false>,
        dot_tokens<F, 7, false>, dot_tokens<F, 8, false>},
       {dot_tokens<F, 1, true>, dot_tokens<F, 2, true>, dot_tokens<F, 3, true>,
        dot_tokens<F, 4, true>, dot_tokens<F, 5, true>, dot_tokens<F, 6, true>,
        dot_tokens<F, 7, true>, dot_tokens<F, 8, true>}},
      F::kOffset};
  return &kernels;
}
const Kernels* kernels_of(DType type) {
  switch (type) {
    case DType::kQ8_0:
      return kernels_of<Q8_0>();
    case DType::kQ4_0:
      return kernels_of<Q4_0>();
    case DType::kIQ4_NL:
      return kernels_of<IQ4_NL>();
    case DType::kMXFP4:
      return kernels_of<MXFP4>();
    default:
      return nullptr;
  }
}

// Longest k for which the corrections of a pass fit the scratch.
constexpr int64_t kMaxK = int64_t{1} << 20;

}  // namespace

bool has_small_dot(DType type) {
  return kernels_of(type) != nullptr;
}

int64_t small_dot_scratch_bytes() {
  return kMaxTokens * (kMaxK / 32) * 4;
}

bool dot_small(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
               int64_t out_stride, uint8_t* scratch, bool gathers) {
  const Kernels* kernels = kernels_of(weights.format->type);
  if (kernels == nullptr || weights.k > kMaxK) return false;
  auto* corrections = reinterpret_cast<int32_t*>(scratch);
  const int64_t blocks = weights.k / 32;
  for (int64_t t = 0; t < num_tokens; t += kMaxTokens) {
    const int64_t count = num_tokens - t < kMaxTokens ? num_tokens - t : kMaxTokens;
    for (int64_t i = 0; i < count; ++i) {
      offset_sums(x.sums + (t + i) * (x.k / 16), blocks, kernels->offset, corrections + i * blocks);
    }
    kernels->passes[gathers][count - 1](weights, from_token(x, t), corrections,
                                        out + t * out_stride, out_stride);
  }
  return true;
}

}  // namespace realm::cpu::avx512
