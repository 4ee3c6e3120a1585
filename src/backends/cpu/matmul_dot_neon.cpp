// Products of few tokens on NEON with dot products (ARMv8.2), straight from packed blocks. Four
// weight rows at a time: integer sums run along a row, pairwise additions then turn four rows'
// partial sums into one vector whose lanes are rows, and the float arithmetic goes on from there.
#define REALM_ISA neon
#define REALM_ISA_IS_NEON
#include "backends/cpu/format_kernels.h"
#include "backends/cpu/matmul_neon.h"

namespace realm::cpu::neon {
namespace {

constexpr int kRows = 4;

REALM_INLINE int8x16_t as_signed(uint8x16_t v) {
  return vreinterpretq_s8_u8(v);
}

// Lane r is the sum of the lanes of p[r].
REALM_INLINE int32x4_t reduce_4(const int32x4_t* p) {
  return vpaddq_s32(vpaddq_s32(p[0], p[1]), vpaddq_s32(p[2], p[3]));
}

// The four rows of a step; past the last one it repeats, its results are dropped.
struct RowPointers {
  const uint8_t* row[kRows];
};
REALM_INLINE RowPointers row_pointers(const WeightRows& weights, int first) {
  RowPointers rows;
  for (int r = 0; r < kRows; ++r) {
    const int row = first + r < weights.num_rows ? first + r : weights.num_rows - 1;
    rows.row[r] = weights.data + row * weights.row_bytes;
  }
  return rows;
}
REALM_INLINE void store_rows(float* out, float32x4_t sums, int num_rows) {
  if (num_rows >= kRows) return vst1q_f32(out, sums);
  float buffer[kRows];
  vst1q_f32(buffer, sums);
  memcpy(out, buffer, static_cast<size_t>(num_rows) * sizeof(float));
}
// The next four rows' bytes at the same place: rows are too short for a hardware prefetcher.
REALM_INLINE void prefetch_next(const RowPointers& rows, int64_t row_bytes, int64_t begin,
                                int64_t bytes) {
  for (int r = 0; r < kRows; ++r) {
    const uint8_t* p = rows.row[r] + kRows * row_bytes + begin;
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(p + at, 0, 2);
  }
}

template <typename F, int kTokens>
void dot_small_tokens(const WeightRows& weights, const int8_t* codes, const float* x_scales,
                      const int16_t* x_sums, float* out, int64_t out_stride) {
  using Buffer = typename BufferOf<F>::Type;
  constexpr bool kUnpacks = sizeof(Buffer) > sizeof(NoBuffer);
  constexpr int kHalves = 32 / F::kSub;
  const int64_t k = weights.k, block_bytes = weights.format->block_bytes;
  const int block_groups = kUnpacks ? weights.format->block_elements / 32 : F::kElements / 32;
  for (int first = 0; first < weights.num_rows; first += kRows) {
    const RowPointers rows = row_pointers(weights, first);
    float32x4_t acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = vdupq_n_f32(0.0f);
    for (int64_t block = 0; block < k / 32 / block_groups; ++block) {
      prefetch_next(rows, weights.row_bytes, block * block_bytes, block_bytes);
      for (int v = 0; v < block_groups; ++v) {
        const int64_t g = block * block_groups + v;
        int32x4_t partial[kTokens][kHalves][kRows];
        float scales[kHalves][kRows], mins[kRows] = {};
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          Buffer buffer;
          const uint8_t* b =
              block_at<F>(*weights.format, rows.row[r] + block * block_bytes, v, buffer);
          const Codes c = F::codes(b, v);
          for (int half = 0; half < kHalves; ++half) {
            scales[half][r] = F::scale(b, kUnpacks ? half : v * kHalves + half);
          }
          if constexpr (F::kHasMin) mins[r] = F::min(b);
          for (int t = 0; t < kTokens; ++t) {
            const int8_t* x = codes + t * k + 32 * g;
            const int32x4_t low = vdotq_s32(vdupq_n_s32(0), as_signed(c.lo), vld1q_s8(x));
            if constexpr (kHalves == 1) {
              partial[t][0][r] = vdotq_s32(low, as_signed(c.hi), vld1q_s8(x + 16));
            } else {
              partial[t][0][r] = low;
              partial[t][1][r] = vdotq_s32(vdupq_n_s32(0), as_signed(c.hi), vld1q_s8(x + 16));
            }
          }
        }
        for (int t = 0; t < kTokens; ++t) {
          const float dx = x_scales[t * (k / 32) + g];
          const int16_t* sums = x_sums + t * (k / 16) + 2 * g;
          for (int half = 0; half < kHalves; ++half) {
            const int sum = kHalves == 1 ? sums[0] + sums[1] : sums[half];
            const int32x4_t dot =
                vsubq_s32(reduce_4(partial[t][half]), vdupq_n_s32(F::kBias * sum));
            acc[t] =
                vfmaq_f32(acc[t], vmulq_n_f32(vld1q_f32(scales[half]), dx), vcvtq_f32_s32(dot));
            if constexpr (F::kHasMin) {
              static_assert(kHalves == 1);
              acc[t] = vfmaq_n_f32(acc[t], vld1q_f32(mins), dx * static_cast<float>(sum));
            }
          }
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      store_rows(out + t * out_stride + first, acc[t], weights.num_rows - first);
    }
  }
}

// Sums of x per kSub as the scales are arranged: sixteen, or eight (and nothing in the upper half).
template <int kSub>
struct SubSums {
  int16x8_t lo, hi;
};
template <int kSub>
REALM_INLINE SubSums<kSub> sub_sums(const int16_t* sums) {
  const int16x8_t a = vld1q_s16(sums), b = vld1q_s16(sums + 8);
  if constexpr (kSub == 16) return {a, b};
  return {vpaddq_s16(a, b), vdupq_n_s16(0)};
}
// The sum over sub-blocks of scale * sum, spread over four lanes.
template <int kSub>
REALM_INLINE int32x4_t weigh_sums(ScaleBytes scales, const SubSums<kSub>& sums) {
  const int16x8_t lo = vmovl_s8(vcreate_s8(scales.lo));
  int32x4_t total = vmull_s16(vget_low_s16(lo), vget_low_s16(sums.lo));
  total = vmlal_s16(total, vget_high_s16(lo), vget_high_s16(sums.lo));
  if constexpr (kSub == 16) {
    const int16x8_t hi = vmovl_s8(vcreate_s8(scales.hi));
    total = vmlal_s16(total, vget_low_s16(hi), vget_low_s16(sums.hi));
    total = vmlal_s16(total, vget_high_s16(hi), vget_high_s16(sums.hi));
  }
  return total;
}

template <typename F, int kTokens>
void dot_super_tokens(const WeightRows& weights, const int8_t* codes, const float* x_scales,
                      const int16_t* x_sums, float* out, int64_t out_stride) {
  using Buffer = typename BufferOf<F>::Type;
  const int64_t k = weights.k, block_bytes = weights.format->block_bytes;
  for (int first = 0; first < weights.num_rows; first += kRows) {
    const RowPointers rows = row_pointers(weights, first);
    float32x4_t acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = vdupq_n_f32(0.0f);
    for (int64_t block = 0; block < k / 256; ++block) {
      prefetch_next(rows, weights.row_bytes, block * block_bytes, block_bytes);
      int32x4_t partial[kTokens][kRows], minima[kTokens][kRows];
      SubSums<F::kSub> sums[kTokens];
      for (int t = 0; t < kTokens; ++t) {
        sums[t] = sub_sums<F::kSub>(x_sums + t * (k / 16) + 16 * block);
      }
      float d[kRows], dmin[kRows];
      for (int r = 0; r < kRows; ++r) {
        Buffer buffer;
        const uint8_t* b =
            block_at<F>(*weights.format, rows.row[r] + block * block_bytes, 0, buffer);
        const ScaleBytes scales = F::scales(b);
        int8_t scale[16];
        memcpy(scale, &scales, 16);
        int32x4_t total[kTokens];
        for (int t = 0; t < kTokens; ++t) total[t] = vdupq_n_s32(0);
#pragma GCC unroll 8
        for (int v = 0; v < 8; ++v) {
          const Codes c = F::codes(b, v);
          for (int t = 0; t < kTokens; ++t) {
            const int8_t* x = codes + t * k + 256 * block + 32 * v;
            const int32x4_t low = vdotq_s32(vdupq_n_s32(0), as_signed(c.lo), vld1q_s8(x));
            if constexpr (F::kSub == 32) {
              const int32x4_t both = vdotq_s32(low, as_signed(c.hi), vld1q_s8(x + 16));
              total[t] = vmlaq_n_s32(total[t], both, scale[v]);
            } else {
              const int32x4_t high = vdotq_s32(vdupq_n_s32(0), as_signed(c.hi), vld1q_s8(x + 16));
              total[t] = vmlaq_n_s32(total[t], low, scale[2 * v]);
              total[t] = vmlaq_n_s32(total[t], high, scale[2 * v + 1]);
            }
          }
        }
        d[r] = F::d(b);
        for (int t = 0; t < kTokens; ++t) {
          if constexpr (F::kBias != 0) {
            total[t] = vmlsq_n_s32(total[t], weigh_sums<F::kSub>(scales, sums[t]), F::kBias);
          }
          partial[t][r] = total[t];
        }
        if constexpr (F::kHasMin) {
          dmin[r] = F::dmin(b);
          const ScaleBytes mins = F::mins(b);
          for (int t = 0; t < kTokens; ++t) minima[t][r] = weigh_sums<F::kSub>(mins, sums[t]);
        }
      }
      for (int t = 0; t < kTokens; ++t) {
        const float dx = x_scales[t * (k / 256) + block];
        acc[t] =
            vfmaq_f32(acc[t], vmulq_n_f32(vld1q_f32(d), dx), vcvtq_f32_s32(reduce_4(partial[t])));
        if constexpr (F::kHasMin) {
          acc[t] = vfmsq_f32(acc[t], vmulq_n_f32(vld1q_f32(dmin), dx),
                             vcvtq_f32_s32(reduce_4(minima[t])));
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      store_rows(out + t * out_stride + first, acc[t], weights.num_rows - first);
    }
  }
}

template <typename F, int kTokens>
REALM_INLINE void dot_tokens(const WeightRows& weights, const QuantizedTokens& x, int64_t t,
                             float* out, int64_t out_stride) {
  const int8_t* codes = x.codes + t * x.k;
  const float* scales = x.scales + t * (x.k / x.group);
  const int16_t* sums = x.sums + t * (x.k / 16);
  if constexpr (F::kElements == 256) {
    dot_super_tokens<F, kTokens>(weights, codes, scales, sums, out + t * out_stride, out_stride);
  } else {
    dot_small_tokens<F, kTokens>(weights, codes, scales, sums, out + t * out_stride, out_stride);
  }
}

template <typename F>
struct Dot {
  static void run(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                  float* out, int64_t out_stride) {
    int64_t t = 0;
    for (; t + 2 <= num_tokens; t += 2) dot_tokens<F, 2>(weights, x, t, out, out_stride);
    if (t < num_tokens) dot_tokens<F, 1>(weights, x, t, out, out_stride);
  }
};

}  // namespace

void dot(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
         int64_t out_stride, uint8_t*) {
  using Function = void (*)(const WeightRows&, const QuantizedTokens&, int64_t, float*, int64_t);
  kernel_for<Function, Dot> (*weights.format)(weights, x, num_tokens, out, out_stride);
}

}  // namespace realm::cpu::neon
