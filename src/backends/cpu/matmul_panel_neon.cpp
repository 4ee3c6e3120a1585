// Products of many tokens on NEON with dot products (ARMv8.2). 256 columns of up to 32 weight rows
// are unpacked once into a panel in the L1 cache, in which four rows are the lanes of a register
// and four consecutive elements of a row one lane; then all tokens pass over it, four at a time. A
// register holds sixteen elements of a token, of which the dot product by lane takes four: no
// broadcasts, no horizontal operations, and each output's accumulator is a lane. Codes are int8
// with their offset taken out, for which 32-bit sums are exact whatever they are.
#define REALM_ISA neon
#define REALM_ISA_IS_NEON
#include "backends/cpu/format_kernels.h"
#include "backends/cpu/matmul_neon.h"

namespace realm::cpu::neon {
namespace {

constexpr int kColumns = 256;             // of a panel
constexpr int kGroups = kColumns / 32;    // groups of 32 columns
constexpr int kVectors = kPanelRows / 4;  // of four rows
constexpr int kPair = 2;                  // row vectors computed together

struct alignas(64) Panel {
  int8_t codes[kGroups][kVectors][8][16];  // [group][row vector][4 columns][row, column]
  float scale[16][kPanelRows];             // small: per kSub; super: [0] is d
  float min[kGroups][kPanelRows];          // small: to be added; super: [0] is dmin
  int32_t scales[16][kPanelRows];          // super: per kSub
  int32_t mins[16][kPanelRows];            // super: per kSub
};

// ---- weights into a panel ----

// Four rows of 16 bytes to four vectors whose 32-bit lane r is one of row r.
REALM_INLINE void transpose_4x4(const uint8x16_t* row, int8_t* to) {
  const int32x4_t a = vreinterpretq_s32_u8(row[0]), b = vreinterpretq_s32_u8(row[1]);
  const int32x4_t c = vreinterpretq_s32_u8(row[2]), d = vreinterpretq_s32_u8(row[3]);
  const int64x2_t ab0 = vreinterpretq_s64_s32(vtrn1q_s32(a, b));  // a0 b0 a2 b2
  const int64x2_t ab1 = vreinterpretq_s64_s32(vtrn2q_s32(a, b));  // a1 b1 a3 b3
  const int64x2_t cd0 = vreinterpretq_s64_s32(vtrn1q_s32(c, d));
  const int64x2_t cd1 = vreinterpretq_s64_s32(vtrn2q_s32(c, d));
  vst1q_s8(to, vreinterpretq_s8_s64(vtrn1q_s64(ab0, cd0)));
  vst1q_s8(to + 16, vreinterpretq_s8_s64(vtrn1q_s64(ab1, cd1)));
  vst1q_s8(to + 32, vreinterpretq_s8_s64(vtrn2q_s64(ab0, cd0)));
  vst1q_s8(to + 48, vreinterpretq_s8_s64(vtrn2q_s64(ab1, cd1)));
}

// Four rows' codes of one group of columns.
template <typename F>
REALM_INLINE void pack_group(Panel& panel, int group, int v, int vector,
                             const uint8_t* const* blocks) {
  uint8x16_t low[4], high[4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    const Codes c = F::codes(blocks[r], v);
    const uint8x16_t bias = vdupq_n_u8(F::kBias);
    low[r] = vsubq_u8(c.lo, bias);
    high[r] = vsubq_u8(c.hi, bias);
  }
  transpose_4x4(low, panel.codes[group][vector][0]);
  transpose_4x4(high, panel.codes[group][vector][4]);
}

template <typename F>
void pack_super(Panel& panel, const BlockFormat& format, const uint8_t* const* rows, int vector) {
  typename BufferOf<F>::Type buffers[4];
  const uint8_t* blocks[4];
  for (int r = 0; r < 4; ++r) {
    const int row = 4 * vector + r;
    const uint8_t* b = blocks[r] = block_at<F>(format, rows[r], 0, buffers[r]);
    const ScaleBytes scales = F::scales(b);
    int8_t bytes[16];
    memcpy(bytes, &scales, 16);
    for (int j = 0; j < 256 / F::kSub; ++j) panel.scales[j][row] = bytes[j];
    panel.scale[0][row] = F::d(b);
    if constexpr (F::kHasMin) {
      const ScaleBytes mins = F::mins(b);
      memcpy(bytes, &mins, 16);
      for (int j = 0; j < 256 / F::kSub; ++j) panel.mins[j][row] = bytes[j];
      panel.min[0][row] = F::dmin(b);
    }
  }
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) pack_group<F>(panel, g, g, vector, blocks);
}

template <typename F>
void pack_small(Panel& panel, const BlockFormat& format, const uint8_t* const* rows, int groups,
                int vector) {
  using Buffer = typename BufferOf<F>::Type;
  constexpr bool kUnpacks = sizeof(Buffer) > sizeof(NoBuffer);
  constexpr int kHalves = 32 / F::kSub;
  const int block_groups = kUnpacks ? format.block_elements / 32 : F::kElements / 32;
  Buffer buffers[4];
  for (int g = 0; g < groups; ++g) {
    const int v = g % block_groups;  // panels start at blocks
    const uint8_t* blocks[4];
    for (int r = 0; r < 4; ++r) {
      const int row = 4 * vector + r;
      blocks[r] =
          block_at<F>(format, rows[r] + g / block_groups * format.block_bytes, v, buffers[r]);
      for (int half = 0; half < kHalves; ++half) {
        panel.scale[g * kHalves + half][row] =
            F::scale(blocks[r], kUnpacks ? half : v * kHalves + half);
      }
      if constexpr (F::kHasMin) panel.min[g][row] = F::min(blocks[r]);
    }
    pack_group<F>(panel, g, v, vector, blocks);
  }
}

template <typename F>
void pack_rows(Panel& panel, const WeightRows& weights, int64_t column, int groups, int vector) {
  const BlockFormat& format = *weights.format;
  const int64_t panel_bytes = int64_t{groups} * 32 / format.block_elements * format.block_bytes;
  const int64_t offset = column / format.block_elements * format.block_bytes;
  const bool last = column + 32 * groups == weights.k;
  const uint8_t* rows[4];
  for (int r = 0; r < 4; ++r) {
    const int row = 4 * vector + r < weights.num_rows ? 4 * vector + r : weights.num_rows - 1;
    const uint8_t* p = weights.data + row * weights.row_bytes;
    rows[r] = p + offset;
    // The next panel's bytes: from one to the other is a walk that the hardware does not foresee.
    const uint8_t* next = last ? p + kPanelRows * weights.row_bytes : rows[r] + panel_bytes;
    for (int64_t at = 0; at < panel_bytes + 63; at += 64) __builtin_prefetch(next + at, 0, 2);
  }
  if constexpr (F::kElements == 256) {
    pack_super<F>(panel, format, rows, vector);
  } else {
    pack_small<F>(panel, format, rows, groups, vector);
  }
}

// ---- the product of a panel and some tokens ----

// What a tile reads of the activations, from its first token and the panel's first column on.
struct TileInput {
  const int8_t* codes;
  const float* scales;
  const int16_t* sums;
  int64_t k;
  int64_t scale_stride;
};

struct TileOutput {
  float* data;  // of the tile's first token
  int64_t stride;
};

template <int kTokens>
using Sums = int32x4_t[kPair][kTokens];

// Adds the products of sixteen columns.
template <int kTokens>
REALM_INLINE void add_16_columns(const Panel& panel, const TileInput& x, int group, int vector,
                                 int half, Sums<kTokens>& sums) {
  const int8_t* weights[kPair] = {panel.codes[group][vector][4 * half],
                                  panel.codes[group][vector + 1][4 * half]};
  int8x16_t tokens[kTokens];
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) {
    tokens[t] = vld1q_s8(x.codes + t * x.k + 32 * group + 16 * half);
  }
#pragma GCC unroll 2
  for (int r = 0; r < kPair; ++r) {
    const int8x16_t w0 = vld1q_s8(weights[r]), w1 = vld1q_s8(weights[r] + 16);
    const int8x16_t w2 = vld1q_s8(weights[r] + 32), w3 = vld1q_s8(weights[r] + 48);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      int32x4_t sum = sums[r][t];
      sum = vdotq_laneq_s32(sum, w0, tokens[t], 0);
      sum = vdotq_laneq_s32(sum, w1, tokens[t], 1);
      sum = vdotq_laneq_s32(sum, w2, tokens[t], 2);
      sums[r][t] = vdotq_laneq_s32(sum, w3, tokens[t], 3);
    }
  }
}

template <int kTokens>
REALM_INLINE void clear(Sums<kTokens>& sums) {
#pragma GCC unroll 2
  for (int r = 0; r < kPair; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) sums[r][t] = vdupq_n_s32(0);
  }
}

template <int kSub, bool kMin, int kTokens>
void small_tile(const Panel& panel, const TileInput& x, int groups, int vectors, TileOutput out) {
  constexpr int kHalves = 32 / kSub;
  for (int vector = 0; vector < vectors; vector += kPair) {
    for (int g = 0; g < groups; ++g) {
#pragma GCC unroll 2
      for (int half = 0; half < kHalves; ++half) {
        Sums<kTokens> sums;
        clear<kTokens>(sums);
        add_16_columns<kTokens>(panel, x, g, vector, half, sums);
        if constexpr (kHalves == 1) add_16_columns<kTokens>(panel, x, g, vector, 1, sums);
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) {
          const float dx = x.scales[t * x.scale_stride + g];
#pragma GCC unroll 2
          for (int r = 0; r < kPair; ++r) {
            const int row = 4 * (vector + r);
            float* acc = out.data + t * out.stride + row;
            const float32x4_t scale = vld1q_f32(panel.scale[g * kHalves + half] + row);
            float32x4_t sum =
                vfmaq_f32(vld1q_f32(acc), vmulq_n_f32(scale, dx), vcvtq_f32_s32(sums[r][t]));
            if constexpr (kMin) {
              const int16_t* x_sums = x.sums + t * (x.k / 16) + 2 * g;
              const float x_sum = dx * static_cast<float>(x_sums[0] + x_sums[1]);
              sum = vfmaq_n_f32(sum, vld1q_f32(panel.min[g] + row), x_sum);
            }
            vst1q_f32(acc, sum);
          }
        }
      }
    }
  }
}

template <int kSub, bool kMin, int kTokens>
void super_tile(const Panel& panel, const TileInput& x, int, int vectors, TileOutput out) {
  constexpr int kHalves = 32 / kSub;
  for (int vector = 0; vector < vectors; vector += kPair) {
    Sums<kTokens> total;
    clear<kTokens>(total);
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 2
      for (int half = 0; half < kHalves; ++half) {
        Sums<kTokens> sums;
        clear<kTokens>(sums);
        add_16_columns<kTokens>(panel, x, g, vector, half, sums);
        if constexpr (kHalves == 1) add_16_columns<kTokens>(panel, x, g, vector, 1, sums);
#pragma GCC unroll 2
        for (int r = 0; r < kPair; ++r) {
          const int32x4_t scale = vld1q_s32(panel.scales[g * kHalves + half] + 4 * (vector + r));
#pragma GCC unroll 4
          for (int t = 0; t < kTokens; ++t) {
            total[r][t] = vmlaq_s32(total[r][t], sums[r][t], scale);
          }
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      const float dx = x.scales[t * x.scale_stride];
      for (int r = 0; r < kPair; ++r) {
        const int row = 4 * (vector + r);
        float* acc = out.data + t * out.stride + row;
        float32x4_t sum =
            vfmaq_f32(vld1q_f32(acc), vmulq_n_f32(vld1q_f32(panel.scale[0] + row), dx),
                      vcvtq_f32_s32(total[r][t]));
        if constexpr (kMin) {
          const int16_t* x_sums = x.sums + t * (x.k / 16);
          int32x4_t minima = vdupq_n_s32(0);
          for (int j = 0; j < 256 / kSub; ++j) {
            const int x_sum = kSub == 16 ? x_sums[j] : x_sums[2 * j] + x_sums[2 * j + 1];
            minima = vmlaq_n_s32(minima, vld1q_s32(panel.mins[j] + row), x_sum);
          }
          sum =
              vfmsq_f32(sum, vmulq_n_f32(vld1q_f32(panel.min[0] + row), dx), vcvtq_f32_s32(minima));
        }
        vst1q_f32(acc, sum);
      }
    }
  }
}

template <bool kSuper, int kSub, bool kMin, int kTokens>
REALM_INLINE void run_tile(const Panel& panel, const QuantizedTokens& x, int64_t token,
                           int64_t column, int groups, int vectors, TileOutput out) {
  const int64_t at = token * x.k + column;
  const TileInput input{x.codes + at, x.scales + at / x.group, x.sums + at / 16, x.k,
                        x.k / x.group};
  out.data += token * out.stride;
  if constexpr (kSuper) {
    super_tile<kSub, kMin, kTokens>(panel, input, groups, vectors, out);
  } else {
    small_tile<kSub, kMin, kTokens>(panel, input, groups, vectors, out);
  }
}

template <bool kSuper, int kSub, bool kMin>
void run_tiles(const Panel& panel, const QuantizedTokens& x, int64_t num_tokens, int64_t column,
               int groups, int vectors, TileOutput out) {
  int64_t t = 0;
  for (; t + 4 <= num_tokens; t += 4) {
    run_tile<kSuper, kSub, kMin, 4>(panel, x, t, column, groups, vectors, out);
  }
  for (; t + 2 <= num_tokens; t += 2) {
    run_tile<kSuper, kSub, kMin, 2>(panel, x, t, column, groups, vectors, out);
  }
  if (t < num_tokens) {
    run_tile<kSuper, kSub, kMin, 1>(panel, x, t, column, groups, vectors, out);
  }
}

template <typename F>
void panel_of(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
              int64_t out_stride, uint8_t* scratch) {
  constexpr bool kSuper = F::kElements == 256;
  Panel& panel = *reinterpret_cast<Panel*>(scratch);
  const bool direct = weights.num_rows == kPanelRows;
  const TileOutput sums =
      direct ? TileOutput{out, out_stride}
             : TileOutput{reinterpret_cast<float*>(scratch + sizeof(Panel)), kPanelRows};
  for (int64_t t = 0; t < num_tokens; ++t) {
    memset(sums.data + t * sums.stride, 0, kPanelRows * sizeof(float));
  }
  const int vectors = (weights.num_rows + 4 * kPair - 1) / (4 * kPair) * kPair;
  for (int64_t column = 0; column < weights.k; column += kColumns) {
    const int64_t left = weights.k - column;
    const int groups = static_cast<int>((left < kColumns ? left : kColumns) / 32);
    for (int vector = 0; vector < vectors; ++vector) {
      pack_rows<F>(panel, weights, column, groups, vector);
    }
    run_tiles<kSuper, F::kSub, F::kHasMin>(panel, x, num_tokens, column, groups, vectors, sums);
  }
  if (direct) return;
  for (int64_t t = 0; t < num_tokens; ++t) {
    memcpy(out + t * out_stride, sums.data + t * sums.stride,
           static_cast<size_t>(weights.num_rows) * sizeof(float));
  }
}

template <typename F>
struct PanelProduct {
  static constexpr auto run = panel_of<F>;
};

}  // namespace

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch) {
  using Function =
      void (*)(const WeightRows&, const QuantizedTokens&, int64_t, float*, int64_t, uint8_t*);
  kernel_for<Function, PanelProduct> (*weights.format)(weights, x, num_tokens, out, out_stride,
                                                       scratch);
}

int64_t panel_scratch_bytes(int64_t num_tokens) {
  return static_cast<int64_t>(sizeof(Panel)) +
         num_tokens * kPanelRows * static_cast<int64_t>(sizeof(float));
}

}  // namespace realm::cpu::neon
