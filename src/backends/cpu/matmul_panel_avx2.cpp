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
#include "backends/cpu/matmul_avx2.h"
#include "backends/cpu/unpacked_codes.h"

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

// How a panel is laid out and computed with; kDepth 0 means words.
template <bool kSuperOf, int kSubOf, bool kUnsignedXOf, int kDepthOf>
struct Layout {
  static constexpr bool kSuper = kSuperOf;
  static constexpr int kSub = kSubOf;
  static constexpr bool kUnsignedX = kUnsignedXOf;
  static constexpr int kDepth = kDepthOf;
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
  using Type =
      Layout<kSuper, kDepth == 0 && kSuper ? 32 : F::kSub, kUnsignedX && kDepth != 0, kDepth>;
};

REALM_INLINE __m256i load_vector(const void* p) {
  return _mm256_load_si256(static_cast<const __m256i*>(p));
}
REALM_INLINE __m256i broadcast_32(const void* p) {
  int32_t x;
  memcpy(&x, p, 4);
  return _mm256_set1_epi32(x);
}

// ---- weights into a panel ----

// Eight rows of 32 bytes to eight vectors whose dword r is a dword of row r.
REALM_INLINE void transpose_8x8(const __m256i* row, void* to) {
  __m256i a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(row[i], row[i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32(row[i], row[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  __m256i* out = static_cast<__m256i*>(to);
  for (int i = 0; i < 4; ++i) {
    _mm256_store_si256(out + i, _mm256_permute2x128_si256(b[i], b[i + 4], 0x20));
    _mm256_store_si256(out + i + 4, _mm256_permute2x128_si256(b[i], b[i + 4], 0x31));
  }
}

REALM_INLINE int8_t scale_byte(ScaleBytes s, int j) {
  return static_cast<int8_t>((j < 8 ? s.lo : s.hi) >> (8 * (j % 8)));
}
REALM_INLINE int32_t pair_of(int16_t low, int16_t high) {
  return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint16_t>(low)) |
                              (static_cast<uint32_t>(static_cast<uint16_t>(high)) << 16));
}

// Eight rows' codes of one group, and the group's factors.
template <typename F, typename L>
REALM_INLINE void pack_group(Panel& panel, int group, int vector, const uint8_t* const* blocks,
                             const ScaleBytes* scales) {
  const int v = group % (F::kElements / 32);
  __m256i rows[8];
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
    for (int half = 0; half < 2; ++half) {
      __m256i words[8];
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

template <typename F, typename L>
void pack_rows(Panel& panel, const WeightRows& weights, int64_t column, int groups, int vector) {
  using Buffer = typename BufferOf<F>::Type;
  constexpr bool kUnpacks = sizeof(Buffer) > sizeof(NoBuffer);
  const int block_groups = kUnpacks ? weights.format->block_elements / 32 : F::kElements / 32;
  const uint8_t* rows[8];
  for (int r = 0; r < 8; ++r) {
    const int row = 8 * vector + r < weights.num_rows ? 8 * vector + r : weights.num_rows - 1;
    rows[r] = weights.data + row * weights.row_bytes;
  }
  const uint8_t* blocks[8];
  ScaleBytes scales[8] = {};
  Buffer buffers[8];
  for (int g = 0; g < groups; ++g) {
    const int64_t at = column / 32 + g;
    const int v = static_cast<int>(at % block_groups);
    if (F::kElements != 256 || g == 0) {
      for (int r = 0; r < 8; ++r) {
        blocks[r] =
            block_at<F>(*weights.format, rows[r] + at / block_groups * weights.format->block_bytes,
                        v, buffers[r]);
        const int row = 8 * vector + r;
        if constexpr (F::kElements == 256) {
          scales[r] = F::scales(blocks[r]);
          panel.scale[0][row] = F::d(blocks[r]);
          if constexpr (!L::kWords) {
            for (int j = 0; j < 256 / F::kSub; ++j) {
              const int16_t s = scale_byte(scales[r], j);
              panel.scale_pairs[j][row] = pair_of(s, s);
            }
          }
          if constexpr (F::kHasMin) {
            const ScaleBytes mins = F::mins(blocks[r]);
            panel.min[0][row] = F::dmin(blocks[r]);
            for (int j = 0; j < 256 / F::kSub / 2; ++j) {
              panel.min_pairs[j][row] =
                  pair_of(scale_byte(mins, 2 * j), scale_byte(mins, 2 * j + 1));
            }
          }
        } else {
          constexpr int kHalves = 32 / F::kSub;
          const int sub = kUnpacks ? 0 : v * kHalves;
          for (int half = 0; half < kHalves; ++half) {
            panel.scale[g * kHalves + half][row] = F::scale(blocks[r], sub + half);
          }
          if constexpr (F::kHasMin) panel.min[g][row] = F::min(blocks[r]);
        }
      }
    }
    // A group's place in the row is its place in the panel modulo a block: panels start at blocks.
    pack_group<F, L>(panel, g, vector, blocks, scales);
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
    }
  }
}

struct TileOutput {
  float* data;  // of the tile's first token
  int64_t stride;
};

template <typename L, int kTokens>
void small_tile(const Panel& panel, const TokenTile& tile, int groups, int vectors, bool has_min,
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
          for (int r = 0; r < kPair; ++r) {
            const __m256 scale = _mm256_load_ps(panel.scale[sub] + 8 * (vector + r));
            float* acc = out.data + t * out.stride + 8 * (vector + r);
            __m256 sum = _mm256_fmadd_ps(_mm256_mul_ps(scale, dx),
                                         _mm256_cvtepi32_ps(_mm256_sub_epi32(total[r][t], bias)),
                                         _mm256_loadu_ps(acc));
            if (kHalves == 1 && has_min) {
              sum = _mm256_fmadd_ps(_mm256_load_ps(panel.min[g] + 8 * (vector + r)),
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
    for (int r = 0; r < kPair; ++r) {
      const int row = 8 * (vector + r);
      const __m256 d = _mm256_load_ps(panel.scale[0] + row);
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
                           int groups, int vectors, const TileSums& with, bool has_min,
                           TileOutput out) {
  load_tokens<L>(s.tile, x, token, kTokens, column, groups, with);
  out.data += token * out.stride;
  if constexpr (L::kSuper) {
    super_tile<L, kTokens>(s.panel, s.tile, vectors, with.min_pairs, out);
  } else {
    small_tile<L, kTokens>(s.panel, s.tile, groups, vectors, has_min, out);
  }
}

// All tokens over one panel.
template <typename L>
void run_tiles(Scratch& s, const QuantizedTokens& x, int64_t num_tokens, int64_t column, int groups,
               int vectors, const TileSums& with, bool has_min, TileOutput out) {
  if constexpr (L::kUnsignedX) find_start<L>(s.panel, s.tile, vectors);
  int64_t t = 0;
  for (; t + 6 <= num_tokens; t += 6) {
    run_tile<L, 6>(s, x, t, column, groups, vectors, with, has_min, out);
  }
  for (; t + 4 <= num_tokens; t += 4) {
    run_tile<L, 4>(s, x, t, column, groups, vectors, with, has_min, out);
  }
  for (; t + 2 <= num_tokens; t += 2) {
    run_tile<L, 2>(s, x, t, column, groups, vectors, with, has_min, out);
  }
  if (t < num_tokens) run_tile<L, 1>(s, x, t, column, groups, vectors, with, has_min, out);
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
    run_tiles<L>(s, x, num_tokens, column, groups, vectors, with, F::kHasMin, sums);
  }
  if (direct) return;
  for (int64_t t = 0; t < num_tokens; ++t) {
    memcpy(out + t * out_stride, sums.data + t * sums.stride,
           static_cast<size_t>(weights.num_rows) * sizeof(float));
  }
}

using PanelKernel = void (*)(const WeightRows&, const QuantizedTokens&, int64_t, float*, int64_t,
                             uint8_t*);

struct PanelRow {
  DType type;
  PanelKernel kernel;
};

constexpr PanelRow kPanelKernels[] = {
    {DType::kQ4_0, panel_of<CodesQ4_0>},       {DType::kQ4_1, panel_of<CodesQ4_1>},
    {DType::kQ5_0, panel_of<CodesQ5_0>},       {DType::kQ5_1, panel_of<CodesQ5_1>},
    {DType::kQ8_0, panel_of<CodesQ8_0>},       {DType::kQ8_1, panel_of<CodesQ8_1>},
    {DType::kIQ4_NL, panel_of<CodesIQ4_NL>},   {DType::kMXFP4, panel_of<CodesMXFP4>},
    {DType::kNVFP4, panel_of<CodesNVFP4>},     {DType::kQ1_0, panel_of<CodesQ1_0>},
    {DType::kQ2_K, panel_of<CodesQ2_K>},       {DType::kQ3_K, panel_of<CodesQ3_K>},
    {DType::kQ4_K, panel_of<CodesQ4_K>},       {DType::kQ5_K, panel_of<CodesQ5_K>},
    {DType::kQ6_K, panel_of<CodesQ6_K>},       {DType::kTQ2_0, panel_of<CodesTQ2_0>},
    {DType::kIQ4_XS, panel_of<CodesIQ4_XS>},   {DType::kIQ2_XXS, panel_of<CodesIQ2_XXS>},
    {DType::kIQ2_XS, panel_of<CodesIQ2_XS>},   {DType::kIQ2_S, panel_of<CodesIQ2_S>},
    {DType::kIQ3_XXS, panel_of<CodesIQ3_XXS>}, {DType::kIQ3_S, panel_of<CodesIQ3_S>},
    {DType::kIQ1_S, panel_of<CodesIQ1_S>},     {DType::kIQ1_M, panel_of<CodesIQ1_M>},
};

PanelKernel unpacking_panel(const UnpackShape& shape) {
  if (shape.elements == 256) {
    if (shape.has_min) {
      return shape.sub_block == 16 ? panel_of<UnpackedSuper<16, true>>
                                   : panel_of<UnpackedSuper<32, true>>;
    }
    return shape.sub_block == 16 ? panel_of<UnpackedSuper<16, false>>
                                 : panel_of<UnpackedSuper<32, false>>;
  }
  if (shape.has_min) return panel_of<UnpackedSmall<32, true>>;
  return shape.sub_block == 16 ? panel_of<UnpackedSmall<16, false>>
                               : panel_of<UnpackedSmall<32, false>>;
}

}  // namespace

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch) {
  for (const PanelRow& row : kPanelKernels) {
    if (row.type == weights.format->type) {
      return row.kernel(weights, x, num_tokens, out, out_stride, scratch);
    }
  }
  unpacking_panel(weights.format->shape)(weights, x, num_tokens, out, out_stride, scratch);
}

int64_t panel_scratch_bytes(int64_t num_tokens) {
  return static_cast<int64_t>(sizeof(Scratch)) +
         num_tokens * kPanelRows * static_cast<int64_t>(sizeof(float));
}

}  // namespace realm::cpu::avx2
