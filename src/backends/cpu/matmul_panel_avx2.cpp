// Products of many tokens on AVX2: 256 columns of up to 32 weight rows are unpacked once into a
// panel in the L1 cache (panel_avx2.h), in which eight rows are the lanes of a register and four
// (or two) consecutive elements of a row one lane; then all tokens pass over it
// (panel_tiles_avx2.cpp). This file takes the blocks of each format apart.
#define REALM_ISA avx2
#include "backends/cpu/format_kernels.h"
#include "backends/cpu/matmul_avx2.h"
#include "backends/cpu/panel_avx2.h"

namespace realm::cpu::avx2 {
namespace {

constexpr int depth_of(int largest_pair, int sub) {
  int depth = 8;
  while (depth > 0 && (4 * depth > sub || depth * largest_pair > 32767)) depth /= 2;
  return depth < 2 ? 0 : depth;
}

template <typename F>
struct LayoutFor {
  static constexpr bool kSuper = F::kElements == 256;
  static constexpr bool kUnsignedX = kSuper && !F::kHasMin;
  static constexpr int kMagnitude = !kUnsignedX || F::kSigned       ? F::kMax
                                    : F::kBias > F::kMax - F::kBias ? F::kBias
                                                                    : F::kMax - F::kBias;
  static constexpr int kDepth =
      F::kSigned && !kUnsignedX ? 0 : depth_of(2 * kMagnitude * (kUnsignedX ? 255 : 127), F::kSub);
  static constexpr int kMins = !F::kHasMin ? 0 : kSuper ? 256 / F::kSub / 2 : 1;
  // Words carry their integer scales, which makes sub-blocks of super formats alike.
  using Type = Layout<kSuper, kDepth == 0 && kSuper ? 32 : F::kSub, kUnsignedX && kDepth != 0,
                      kDepth, kMins, kSuper || kDepth == 0 ? 0 : F::kBias>;
};

// ---- weights into a panel ----

// Eight rows of 32 bytes to eight vectors, `stride` vectors apart, whose dword r is a dword of row
// r.
REALM_INLINE void transpose_8x8(const __m256i* row, void* to, int stride = 1) {
  __m256i a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(row[i], row[i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32(row[i], row[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  __m256i* out = static_cast<__m256i*>(to);
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    _mm256_store_si256(out + i * stride, _mm256_permute2x128_si256(b[i], b[i + 4], 0x20));
    _mm256_store_si256(out + (i + 4) * stride, _mm256_permute2x128_si256(b[i], b[i + 4], 0x31));
  }
}

REALM_INLINE int8_t scale_byte(ScaleBytes s, int j) {
  return static_cast<int8_t>((j < 8 ? s.lo : s.hi) >> (8 * (j % 8)));
}
REALM_INLINE __m256i words_of(ScaleBytes s) {
  return _mm256_cvtepi8_epi16(
      _mm_set_epi64x(static_cast<int64_t>(s.hi), static_cast<int64_t>(s.lo)));
}
constexpr int kRowVectors = kPanelRows / 8;  // vectors from one [kPanelRows] array to the next

// Each scale of eight rows twice.
template <int kSub>
REALM_INLINE void pack_scales(Panel& panel, int vector, const ScaleBytes* scales) {
  __m256i low[8], high[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    const __m256i words = words_of(scales[r]);
    low[r] = _mm256_unpacklo_epi16(words, words);   // scales 0..3 and 8..11
    high[r] = _mm256_unpackhi_epi16(words, words);  // scales 4..7 and 12..15
    if (kSub == 32) low[r] = _mm256_permute2x128_si256(low[r], high[r], 0x20);
  }
  int32_t* to = panel.scale_pairs[0] + 8 * vector;
  if constexpr (kSub == 32) {
    transpose_8x8(low, to, kRowVectors);
  } else {
    __m256i first[8], second[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      first[r] = _mm256_permute2x128_si256(low[r], high[r], 0x20);
      second[r] = _mm256_permute2x128_si256(low[r], high[r], 0x31);
    }
    transpose_8x8(first, to, kRowVectors);
    transpose_8x8(second, to + 8 * kPanelRows, kRowVectors);
  }
}
REALM_INLINE void pack_mins(Panel& panel, int vector, const ScaleBytes* mins) {
  __m256i words[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) words[r] = words_of(mins[r]);
  transpose_8x8(words, panel.min_pairs[0] + 8 * vector, kRowVectors);
}

// Eight rows' codes of one group, and the group's factors.
template <typename F, typename L>
REALM_INLINE void pack_group(Panel& panel, int group, int v, int vector,
                             const uint8_t* const* blocks, const ScaleBytes* scales) {
  __m256i rows[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    Codes c = F::codes(blocks[r], v);
    if (L::kUnsignedX && F::kBias != 0) {
      c.v = _mm256_sub_epi8(c.v, _mm256_set1_epi8(static_cast<char>(F::kBias)));
    }
    rows[r] = c.v;
  }
  if constexpr (!L::kWords) {
    transpose_8x8(rows, panel.bytes[group][vector]);
  } else {
    static_assert(F::kSigned);
#pragma GCC unroll 8
    for (int half = 0; half < 2; ++half) {
      __m256i words[8];
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) {
        words[r] = _mm256_cvtepi8_epi16(half == 0 ? _mm256_castsi256_si128(rows[r])
                                                  : _mm256_extracti128_si256(rows[r], 1));
        if constexpr (F::kElements == 256) {
          const int j = F::kSub == 16 ? 2 * group + half : group;
          words[r] = _mm256_mullo_epi16(words[r], _mm256_set1_epi16(scale_byte(scales[r], j)));
        }
      }
      transpose_8x8(words, panel.words[group][vector][8 * half]);
    }
  }
}

REALM_INLINE void store_halves(float* to, const uint16_t* halves) {
  _mm256_store_ps(to, _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(halves))));
}

// The blocks of eight rows that hold the panel's columns, asked for ahead of time: the walk from
// one row to the next, and from one panel to the next, is more than the hardware foresees.
REALM_INLINE void prefetch(const uint8_t* p, int64_t bytes) {
  for (int64_t at = 0; at < bytes + 63; at += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(p + at), _MM_HINT_T1);
  }
}

struct RowCursor {
  const uint8_t* block[8];  // of eight rows, at the panel's first column
};

template <typename F, typename L>
void pack_super(Panel& panel, const BlockFormat& format, const RowCursor& rows, int vector) {
  typename BufferOf<F>::Type buffers[8];
  const uint8_t* blocks[8];
  ScaleBytes scales[8], mins[8];
  alignas(32) float d[8], dmin[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    blocks[r] = block_at<F>(format, rows.block[r], 0, buffers[r]);
    scales[r] = F::scales(blocks[r]);
    d[r] = F::d(blocks[r]);
    if constexpr (F::kHasMin) {
      mins[r] = F::mins(blocks[r]);
      dmin[r] = F::dmin(blocks[r]);
    }
  }
  _mm256_store_ps(panel.scale[0] + 8 * vector, _mm256_load_ps(d));
  if constexpr (!L::kWords) pack_scales<F::kSub>(panel, vector, scales);
  if constexpr (F::kHasMin) {
    _mm256_store_ps(panel.min[0] + 8 * vector, _mm256_load_ps(dmin));
    pack_mins(panel, vector, mins);
  }
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) pack_group<F, L>(panel, g, g, vector, blocks, scales);
}

template <typename F, typename L>
void pack_small(Panel& panel, const BlockFormat& format, const RowCursor& rows, int groups,
                int vector) {
  using Buffer = typename BufferOf<F>::Type;
  constexpr bool kUnpacks = sizeof(Buffer) > sizeof(NoBuffer);
  constexpr int kHalves = 32 / F::kSub;
  const int block_groups = kUnpacks ? format.block_elements / 32 : F::kElements / 32;
  const int block_bytes = kUnpacks ? format.block_bytes : F::kBytes;
  Buffer buffers[8];
  alignas(16) uint16_t scale_halves[kGroups][8], min_halves[kGroups][8];
  for (int g = 0; g < groups; ++g) {
    // Panels start at blocks.
    const int v = kUnpacks ? g % block_groups : g % (F::kElements / 32);
    const int block = kUnpacks ? g / block_groups : g / (F::kElements / 32);
    const uint8_t* blocks[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      const int row = 8 * vector + r;
      blocks[r] = block_at<F>(format, rows.block[r] + block * block_bytes, v, buffers[r]);
      if constexpr (F::kHalfScale >= 0) {
        memcpy(&scale_halves[g][r], blocks[r] + F::kHalfScale, 2);
        if constexpr (F::kHasMin) memcpy(&min_halves[g][r], blocks[r] + F::kHalfMin, 2);
      } else {
        for (int half = 0; half < kHalves; ++half) {
          panel.scale[g * kHalves + half][row] =
              F::scale(blocks[r], kUnpacks ? half : v * kHalves + half);
        }
        if constexpr (F::kHasMin) panel.min[g][row] = F::min(blocks[r]);
      }
    }
    pack_group<F, L>(panel, g, v, vector, blocks, nullptr);
  }
  if constexpr (F::kHalfScale >= 0) {
    for (int g = 0; g < groups; ++g) {
      store_halves(panel.scale[g] + 8 * vector, scale_halves[g]);
      if constexpr (F::kHasMin) store_halves(panel.min[g] + 8 * vector, min_halves[g]);
    }
  }
}

template <typename F, typename L>
void pack_rows(Panel& panel, const WeightRows& weights, int64_t column, int groups, int vector) {
  const BlockFormat& format = *weights.format;
  const int64_t panel_bytes = int64_t{groups} * 32 / format.block_elements * format.block_bytes;
  const int64_t offset = column / format.block_elements * format.block_bytes;
  const bool last = column + 32 * groups == weights.k;
  RowCursor rows;
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    const int row = 8 * vector + r < weights.num_rows ? 8 * vector + r : weights.num_rows - 1;
    const uint8_t* p = weights.data + row * weights.row_bytes;
    rows.block[r] = p + offset;
    prefetch(last ? p + kPanelRows * weights.row_bytes : rows.block[r] + panel_bytes, panel_bytes);
  }
  if constexpr (F::kElements == 256) {
    pack_super<F, L>(panel, format, rows, vector);
  } else {
    pack_small<F, L>(panel, format, rows, groups, vector);
  }
}

struct alignas(64) Scratch {
  Panel panel;
  // Then the sums, [padded tokens, kPanelRows].
};

template <typename F>
void panel_of(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
              int64_t out_stride, uint8_t* scratch) {
  using L = typename LayoutFor<F>::Type;
  Panel& panel = reinterpret_cast<Scratch*>(scratch)->panel;
  float* sums = reinterpret_cast<float*>(scratch + sizeof(Scratch));
  memset(sums, 0, static_cast<size_t>(padded_tokens(num_tokens) * kPanelRows) * sizeof(float));
  const auto* tiles = reinterpret_cast<const TokenTile<L>*>(x.packed);
  const int vectors = (weights.num_rows + 15) / 16 * 2;
  for (int64_t column = 0; column < weights.k; column += kColumns) {
    const int64_t left = weights.k - column;
    const int groups = static_cast<int>((left < kColumns ? left : kColumns) / 32);
    for (int vector = 0; vector < vectors; ++vector) {
      pack_rows<F, L>(panel, weights, column, groups, vector);
    }
    multiply_tiles<L>(panel, tiles, num_tokens, groups, vectors, sums);
    tiles += num_tiles(num_tokens);
  }
  for (int64_t t = 0; t < num_tokens; ++t) {
    memcpy(out + t * out_stride, sums + t * kPanelRows,
           static_cast<size_t>(weights.num_rows) * sizeof(float));
  }
}

template <typename F>
struct PanelProduct {
  static constexpr auto run = panel_of<F>;
};

template <typename F>
struct PanelFrom {
  static int64_t run() { return LayoutFor<F>::Type::kWords ? 5 : 3; }
};

template <typename F>
struct LayoutOf {
  static constexpr auto run = token_layout_of<typename LayoutFor<F>::Type>;
};

}  // namespace

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch) {
  using Function =
      void (*)(const WeightRows&, const QuantizedTokens&, int64_t, float*, int64_t, uint8_t*);
  kernel_for<Function, PanelProduct> (*weights.format)(weights, x, num_tokens, out, out_stride,
                                                       scratch);
}

const TokenLayout* panel_layout(const BlockFormat& format) {
  return kernel_for<const TokenLayout* (*)(), LayoutOf>(format)();
}

// Measured; below, sums over a row's lanes cost less than unpacking a panel.
int64_t panel_from(const BlockFormat& format) {
  return kernel_for<int64_t (*)(), PanelFrom>(format)();
}

int64_t panel_scratch_bytes(int64_t num_tokens) {
  return static_cast<int64_t>(sizeof(Scratch)) +
         padded_tokens(num_tokens) * kPanelRows * static_cast<int64_t>(sizeof(float));
}

}  // namespace realm::cpu::avx2
