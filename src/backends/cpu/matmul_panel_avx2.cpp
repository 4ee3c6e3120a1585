// Products of many tokens on AVX2. 256 columns of up to 32 weight rows are unpacked once into a
// panel in the L1 cache, in which eight rows are the lanes of a register and four (or two)
// consecutive elements of a row one lane; then all tokens pass over it, up to six at a time, whose
// elements are broadcast. There are no horizontal operations, and each output's accumulator is a
// lane.
//
// The integer part has two forms. Bytes: pairs of products in 16 bits (vpmaddubsw), of which kDepth
// fit before they must be widened; one operand has to be unsigned, either the weights or, where a
// code's offset would otherwise have to be multiplied by each scale, the activations (x + 128,
// whose excess is the same for all tokens and is subtracted at the start). Words, for codes that
// need all 8 bits: 16-bit weights, already times their integer scales, and vpmaddwd.
//
// Limits per core and cycle with two multiplies: 64 products in bytes, 32 in words.
#define REALM_ISA avx2
#include "backends/cpu/format_kernels.h"
#include "backends/cpu/matmul_avx2.h"

namespace realm::cpu::avx2 {
namespace {

constexpr int kColumns = 256;             // of a panel
constexpr int kGroups = kColumns / 32;    // groups of 32 columns
constexpr int kVectors = kPanelRows / 8;  // of eight rows
constexpr int kTileTokens = 6;            // with two row vectors: 12 sums, 2 weights, 2 to spare

struct alignas(64) Panel {
  union {
    uint8_t bytes[kGroups][kVectors][8][32];   // [group][row vector][4 columns][row, column]
    int16_t words[kGroups][kVectors][16][16];  // [group][row vector][2 columns][row, column]
  };
  float scale[16][kPanelRows];          // small: per kSub; super: [0] is d
  float min[kGroups][kPanelRows];       // small: to be added; super: [0] is dmin
  int32_t scale_pairs[16][kPanelRows];  // super: the scale of a kSub twice, 16 bits each
  int32_t min_pairs[8][kPanelRows];     // super: two neighbouring minima, 16 bits each
  int32_t start[kPanelRows];            // kUnsignedX: minus what x + 128 adds
};

struct alignas(64) TokenTile {
  union {
    uint8_t bytes[kTileTokens][kColumns];
    int16_t words[kTileTokens][kColumns];
  };
  float dx[kTileTokens][kGroups];      // super: [0]
  float dx_sum[kTileTokens][kGroups];  // small: dx times the sum of the group's codes
  int32_t bias[kTileTokens][16];       // small: per kSub, kBias times the sum of codes
  int32_t sum_pairs[kTileTokens][8];   // super: two neighbouring sums of codes, 16 bits each
};

// How a panel is laid out and computed with; kDepth 0 means words. kMin matters to small formats,
// to the others minima are a matter of run time.
template <bool kSuperOf, int kSubOf, bool kUnsignedXOf, int kDepthOf, bool kMinOf>
struct Layout {
  static constexpr bool kSuper = kSuperOf;
  static constexpr int kSub = kSubOf;
  static constexpr bool kUnsignedX = kUnsignedXOf;
  static constexpr int kDepth = kDepthOf;
  static constexpr bool kMin = kMinOf;
  static constexpr bool kWords = kDepth == 0;
};

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
  // Words carry their integer scales, which makes sub-blocks of super formats alike.
  using Type = Layout<kSuper, kDepth == 0 && kSuper ? 32 : F::kSub, kUnsignedX && kDepth != 0,
                      kDepth, !kSuper && F::kHasMin>;
};

REALM_INLINE __m256i load_vector(const void* p) {
  return _mm256_load_si256(static_cast<const __m256i*>(p));
}
REALM_INLINE __m256i broadcast_32(const void* p) {
  int32_t x;
  memcpy(&x, p, 4);
  return _mm256_set1_epi32(x);
}

// Keeps a running sum as it is: GCC would otherwise gather all additions behind all products, which
// then do not fit the registers.
REALM_INLINE void pin(__m256i& sum) {
  asm("" : "+x"(sum));
}

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

// ---- tokens into a tile ----

struct TileSums {
  int bias;       // small: kBias
  int min_pairs;  // super: number of pairs of minima, 0 where there are none
};

template <typename L>
void load_tokens(TokenTile& tile, const QuantizedTokens& x, int64_t token, int num_tokens,
                 int64_t column, int groups, const TileSums& with) {
  for (int t = 0; t < num_tokens; ++t) {
    const int64_t at = (token + t) * x.k + column;
    const int8_t* codes = x.codes + at;
    const int16_t* sums = x.sums + at / 16;
    for (int g = 0; g < groups; ++g) {
      const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 32 * g));
      if constexpr (L::kWords) {
        __m256i* to = reinterpret_cast<__m256i*>(tile.words[t] + 32 * g);
        _mm256_store_si256(to, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(c)));
        _mm256_store_si256(to + 1, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(c, 1)));
      } else {
        const __m256i flip = _mm256_set1_epi8(L::kUnsignedX ? -128 : 0);
        _mm256_store_si256(reinterpret_cast<__m256i*>(tile.bytes[t] + 32 * g),
                           _mm256_xor_si256(c, flip));
      }
    }
    if constexpr (L::kSuper) {
      tile.dx[t][0] = x.scales[at / 256];
      if (with.min_pairs == 8) memcpy(tile.sum_pairs[t], sums, 32);
      if (with.min_pairs == 4) {
        // Sums of 32 fit 16 bits: at most 32 * 127.
        const __m256i s = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums));
        const __m256i wide = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
        const __m128i narrow =
            _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
        _mm_store_si128(reinterpret_cast<__m128i*>(tile.sum_pairs[t]), narrow);
      }
    } else {
      for (int g = 0; g < groups; ++g) {
        const float dx = x.scales[at / 32 + g];
        const int sum = sums[2 * g] + sums[2 * g + 1];
        tile.dx[t][g] = dx;
        tile.dx_sum[t][g] = dx * static_cast<float>(sum);
        if (L::kSub == 32) {
          tile.bias[t][g] = with.bias * sum;
        } else {
          tile.bias[t][2 * g] = with.bias * sums[2 * g];
          tile.bias[t][2 * g + 1] = with.bias * sums[2 * g + 1];
        }
      }
    }
  }
}

// ---- the product of a panel and a tile ----

constexpr int kPair = 2;  // row vectors computed together

template <typename L>
REALM_INLINE __m256i byte_products(__m256i w, __m256i x) {
  return L::kUnsignedX ? _mm256_maddubs_epi16(x, w) : _mm256_maddubs_epi16(w, x);
}

// Adds (or, for the first, sets) the integer products of kSub columns from `first` on.
template <typename L, int kTokens>
REALM_INLINE void sub_block(const Panel& panel, const TokenTile& tile, int group, int vector,
                            int first, const __m256i* scale, bool set,
                            __m256i (&total)[kPair][kTokens]) {
  constexpr int kDepth = L::kDepth;
#pragma GCC unroll 4
  for (int quad = 0; quad < L::kSub / 4; quad += kDepth) {
    __m256i sums[kPair][kTokens];
#pragma GCC unroll 8
    for (int i = 0; i < kDepth; ++i) {
      const int q = first / 4 + quad + i;
      const __m256i w0 = load_vector(panel.bytes[group][vector][q]);
      const __m256i w1 = load_vector(panel.bytes[group][vector + 1][q]);
#pragma GCC unroll 6
      for (int t = 0; t < kTokens; ++t) {
        const __m256i x = broadcast_32(tile.bytes[t] + 32 * group + 4 * q);
        const __m256i p0 = byte_products<L>(w0, x), p1 = byte_products<L>(w1, x);
        sums[0][t] = i == 0 ? p0 : _mm256_add_epi16(sums[0][t], p0);
        sums[1][t] = i == 0 ? p1 : _mm256_add_epi16(sums[1][t], p1);
        pin(sums[0][t]);
        pin(sums[1][t]);
      }
    }
#pragma GCC unroll 2
    for (int r = 0; r < kPair; ++r) {
#pragma GCC unroll 6
      for (int t = 0; t < kTokens; ++t) {
        const __m256i weighted = _mm256_madd_epi16(sums[r][t], scale[r]);
        total[r][t] = set && quad == 0 ? weighted : _mm256_add_epi32(total[r][t], weighted);
      }
    }
  }
}

// The same in words, for half a group (16 columns).
template <int kTokens>
REALM_INLINE void word_columns(const Panel& panel, const TokenTile& tile, int group, int vector,
                               int half, __m256i (&total)[kPair][kTokens]) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int pair = 8 * half + i;
    const __m256i w0 = load_vector(panel.words[group][vector][pair]);
    const __m256i w1 = load_vector(panel.words[group][vector + 1][pair]);
#pragma GCC unroll 6
    for (int t = 0; t < kTokens; ++t) {
      const __m256i x = broadcast_32(tile.words[t] + 32 * group + 2 * pair);
      total[0][t] = _mm256_add_epi32(total[0][t], _mm256_madd_epi16(w0, x));
      total[1][t] = _mm256_add_epi32(total[1][t], _mm256_madd_epi16(w1, x));
      pin(total[0][t]);
      pin(total[1][t]);
    }
  }
}

struct TileOutput {
  float* data;  // of the tile's first token
  int64_t stride;
};

template <typename L, int kTokens>
void small_tile(const Panel& panel, const TokenTile& tile, int groups, int vectors,
                TileOutput out) {
  constexpr int kHalves = 32 / L::kSub;
  const __m256i ones[kPair] = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
  for (int vector = 0; vector < vectors; vector += kPair) {
    for (int g = 0; g < groups; ++g) {
#pragma GCC unroll 2
      for (int half = 0; half < kHalves; ++half) {
        __m256i total[kPair][kTokens];
        if constexpr (L::kWords) {
          for (auto& row : total) {
            for (__m256i& sum : row) sum = _mm256_setzero_si256();
          }
          word_columns<kTokens>(panel, tile, g, vector, half, total);
          if (kHalves == 1) word_columns<kTokens>(panel, tile, g, vector, 1, total);
        } else {
          sub_block<L, kTokens>(panel, tile, g, vector, L::kSub * half, ones, true, total);
        }
        const int sub = g * kHalves + half;
#pragma GCC unroll 6
        for (int t = 0; t < kTokens; ++t) {
          const __m256 dx = _mm256_set1_ps(tile.dx[t][g]);
          const __m256i bias = _mm256_set1_epi32(tile.bias[t][sub]);
#pragma GCC unroll 2
          for (int r = 0; r < kPair; ++r) {
            const int row = 8 * (vector + r);
            float* acc = out.data + t * out.stride + row;
            const __m256i dot = L::kWords ? total[r][t] : _mm256_sub_epi32(total[r][t], bias);
            __m256 sum = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(panel.scale[sub] + row), dx),
                                         _mm256_cvtepi32_ps(dot), _mm256_loadu_ps(acc));
            if constexpr (L::kMin) {
              sum = _mm256_fmadd_ps(_mm256_load_ps(panel.min[g] + row),
                                    _mm256_set1_ps(tile.dx_sum[t][g]), sum);
            }
            _mm256_storeu_ps(acc, sum);
          }
        }
      }
    }
  }
}

// The integer sums of 256 columns.
template <typename L, int kTokens>
REALM_INLINE void super_sums(const Panel& panel, const TokenTile& tile, int vector,
                             __m256i (&total)[kPair][kTokens]) {
  if constexpr (L::kWords) {
    for (int g = 0; g < kGroups; ++g) {
      word_columns<kTokens>(panel, tile, g, vector, 0, total);
      word_columns<kTokens>(panel, tile, g, vector, 1, total);
    }
  } else {
    constexpr int kHalves = 32 / L::kSub;
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 2
      for (int half = 0; half < kHalves; ++half) {
        const int32_t* pairs = panel.scale_pairs[g * kHalves + half] + 8 * vector;
        const __m256i scale[kPair] = {load_vector(pairs), load_vector(pairs + 8)};
        sub_block<L, kTokens>(panel, tile, g, vector, L::kSub * half, scale, false, total);
      }
    }
  }
}

template <typename L, int kTokens>
void super_tile(const Panel& panel, const TokenTile& tile, int vectors, int min_pairs,
                TileOutput out) {
  for (int vector = 0; vector < vectors; vector += kPair) {
    __m256i total[kPair][kTokens];
    for (int r = 0; r < kPair; ++r) {
      for (int t = 0; t < kTokens; ++t) {
        total[r][t] =
            L::kUnsignedX ? load_vector(panel.start + 8 * (vector + r)) : _mm256_setzero_si256();
      }
    }
    super_sums<L, kTokens>(panel, tile, vector, total);
#pragma GCC unroll 2
    for (int r = 0; r < kPair; ++r) {
      const int row = 8 * (vector + r);
      const __m256 d = _mm256_load_ps(panel.scale[0] + row);
#pragma GCC unroll 6
      for (int t = 0; t < kTokens; ++t) {
        const __m256 dx = _mm256_set1_ps(tile.dx[t][0]);
        float* acc = out.data + t * out.stride + row;
        __m256 sum = _mm256_fmadd_ps(_mm256_mul_ps(d, dx), _mm256_cvtepi32_ps(total[r][t]),
                                     _mm256_loadu_ps(acc));
        if (min_pairs != 0) {
          __m256i minima = _mm256_setzero_si256();
          for (int j = 0; j < min_pairs; ++j) {
            minima = _mm256_add_epi32(minima,
                                      _mm256_madd_epi16(load_vector(panel.min_pairs[j] + row),
                                                        _mm256_set1_epi32(tile.sum_pairs[t][j])));
          }
          sum = _mm256_fnmadd_ps(_mm256_mul_ps(_mm256_load_ps(panel.min[0] + row), dx),
                                 _mm256_cvtepi32_ps(minima), sum);
        }
        _mm256_storeu_ps(acc, sum);
      }
    }
  }
}

// What x + 128 adds to each row's sum: the product with a token whose codes are all zero.
template <typename L>
void find_start(Panel& panel, TokenTile& tile, int vectors) {
  memset(tile.bytes[0], 128, kColumns);
  for (int vector = 0; vector < vectors; vector += kPair) {
    __m256i total[kPair][1] = {{_mm256_setzero_si256()}, {_mm256_setzero_si256()}};
    super_sums<L, 1>(panel, tile, vector, total);
    for (int r = 0; r < kPair; ++r) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(panel.start + 8 * (vector + r)),
                         _mm256_sub_epi32(_mm256_setzero_si256(), total[r][0]));
    }
  }
}

struct Scratch {
  Panel panel;
  TokenTile tile;
  // Then the sums of [tokens, kPanelRows] where a piece has fewer rows.
};

template <typename L, int kTokens>
REALM_INLINE void run_tile(Scratch& s, const QuantizedTokens& x, int64_t token, int64_t column,
                           int groups, int vectors, const TileSums& with, TileOutput out) {
  load_tokens<L>(s.tile, x, token, kTokens, column, groups, with);
  out.data += token * out.stride;
  if constexpr (L::kSuper) {
    super_tile<L, kTokens>(s.panel, s.tile, vectors, with.min_pairs, out);
  } else {
    small_tile<L, kTokens>(s.panel, s.tile, groups, vectors, out);
  }
}

// All tokens over one panel.
template <typename L>
void run_tiles(Scratch& s, const QuantizedTokens& x, int64_t num_tokens, int64_t column, int groups,
               int vectors, const TileSums& with, TileOutput out) {
  if constexpr (L::kUnsignedX) find_start<L>(s.panel, s.tile, vectors);
  int64_t t = 0;
  for (; t + 6 <= num_tokens; t += 6) {
    run_tile<L, 6>(s, x, t, column, groups, vectors, with, out);
  }
  for (; t + 4 <= num_tokens; t += 4) {
    run_tile<L, 4>(s, x, t, column, groups, vectors, with, out);
  }
  for (; t + 2 <= num_tokens; t += 2) {
    run_tile<L, 2>(s, x, t, column, groups, vectors, with, out);
  }
  if (t < num_tokens) run_tile<L, 1>(s, x, t, column, groups, vectors, with, out);
}

template <typename F>
void panel_of(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
              int64_t out_stride, uint8_t* scratch) {
  using L = typename LayoutFor<F>::Type;
  Scratch& s = *reinterpret_cast<Scratch*>(scratch);
  const bool direct = weights.num_rows == kPanelRows;
  const TileOutput sums =
      direct ? TileOutput{out, out_stride}
             : TileOutput{reinterpret_cast<float*>(scratch + sizeof(Scratch)), kPanelRows};
  for (int64_t t = 0; t < num_tokens; ++t) {
    memset(sums.data + t * sums.stride, 0, kPanelRows * sizeof(float));
  }
  const TileSums with{L::kWords || L::kSuper ? 0 : F::kBias,
                      L::kSuper && F::kHasMin ? 256 / F::kSub / 2 : 0};
  const int vectors = (weights.num_rows + 8 * kPair - 1) / (8 * kPair) * kPair;
  for (int64_t column = 0; column < weights.k; column += kColumns) {
    const int64_t left = weights.k - column;
    const int groups = static_cast<int>((left < kColumns ? left : kColumns) / 32);
    for (int vector = 0; vector < vectors; ++vector) {
      pack_rows<F, L>(s.panel, weights, column, groups, vector);
    }
    run_tiles<L>(s, x, num_tokens, column, groups, vectors, with, sums);
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

template <typename F>
struct PanelFrom {
  static int64_t run() { return LayoutFor<F>::Type::kWords ? 5 : 3; }
};

}  // namespace

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch) {
  using Function =
      void (*)(const WeightRows&, const QuantizedTokens&, int64_t, float*, int64_t, uint8_t*);
  kernel_for<Function, PanelProduct> (*weights.format)(weights, x, num_tokens, out, out_stride,
                                                       scratch);
}

// Measured; below, sums over a row's lanes cost less than unpacking a panel.
int64_t panel_from(const BlockFormat& format) {
  return kernel_for<int64_t (*)(), PanelFrom>(format)();
}

int64_t panel_scratch_bytes(int64_t num_tokens) {
  return static_cast<int64_t>(sizeof(Scratch)) +
         num_tokens * kPanelRows * static_cast<int64_t>(sizeof(float));
}

}  // namespace realm::cpu::avx2
