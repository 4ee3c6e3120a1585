// Products of many tokens with float weights on AVX2. Rows of F32, F16 or BF16 become a panel of
// floats in which sixteen rows are the lanes of two registers; six tokens at a time, whose values
// are broadcast, pass over it: twelve sums that stay in registers, two multiply-adds a cycle, and
// nothing horizontal.
//
// The order of a sum is that of dot_rows (kernels.inc.h): sixteen partial sums over k mod 16, then
// a tree that adds those 8, 4, 2 and 1 apart. So the panel and the tokens are kept sorted by k mod
// 16, in the order in which a tree's leaves meet; a quarter of them at a time, which keeps what is
// read again for each tile in the second-level cache.
#include <immintrin.h>
#include <string.h>

#include "backends/cpu/matmul_avx2.h"

#define REALM_INLINE static inline __attribute__((always_inline))

namespace realm::cpu::avx2 {
namespace {

constexpr int kLanes = 16;   // partial sums of an output
constexpr int kQuarter = 4;  // of them together
constexpr int kRows = 16;    // of a panel
constexpr int kTileTokens = 6;

// Where the elements with k mod 16 == j stand: leaves that are added to each other side by side.
constexpr int kPlace[kLanes] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};

int64_t steps_of(int64_t k) {
  return (k + kLanes - 1) / kLanes;
}
int64_t num_tiles_of(int64_t num_tokens) {
  return (num_tokens + kTileTokens - 1) / kTileTokens;
}
// Floats of a quarter of a tile, of a quarter of a panel.
int64_t tile_floats(int64_t k) {
  return kQuarter * steps_of(k) * kTileTokens;
}
int64_t panel_floats(int64_t k) {
  return kQuarter * steps_of(k) * kRows;
}

// ---- tokens: [quarter][tile][4 lanes][step][token] ----

void pack_tokens(const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t tile,
                 float* to) {
  const int64_t steps = steps_of(k);
  const int64_t quarter = num_tiles_of(num_tokens) * tile_floats(k);
  for (int t = 0; t < kTileTokens; ++t) {
    // The last token stands in for those that are not there.
    const int64_t wanted = tile * kTileTokens + t;
    const float* row = x + (wanted < num_tokens ? wanted : num_tokens - 1) * stride;
    for (int lane = 0; lane < kLanes; ++lane) {
      const int place = kPlace[lane];
      float* out = to + place / kQuarter * quarter + tile * tile_floats(k) +
                   place % kQuarter * steps * kTileTokens + t;
      for (int64_t i = 0; i < steps; ++i) {
        const int64_t at = i * kLanes + lane;
        out[i * kTileTokens] = at < k ? row[at] : 0.0f;
      }
    }
  }
}

// ---- weights: [16 lanes][step][row] ----

struct Sixteen {
  __m256 low, high;
};
template <DType kType>
REALM_INLINE Sixteen load_16(const uint8_t* p) {
  if constexpr (kType == DType::kF32) {
    const float* f = reinterpret_cast<const float*>(p);
    return {_mm256_loadu_ps(f), _mm256_loadu_ps(f + 8)};
  }
  const __m128i* h = reinterpret_cast<const __m128i*>(p);
  const __m128i a = _mm_loadu_si128(h), b = _mm_loadu_si128(h + 1);
  if constexpr (kType == DType::kF16) return {_mm256_cvtph_ps(a), _mm256_cvtph_ps(b)};
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(a), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(b), 16))};
}

// Row r of the result is lane r of the eight inputs.
REALM_INLINE void transpose_8x8(__m256* r) {
  __m256 a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}

// Eight rows from the group's row `first` on; rows past the last repeat it.
template <DType kType>
void pack_rows(const WeightRows& weights, int first, float* to) {
  constexpr int kBytes = kType == DType::kF32 ? 4 : 2;
  const int64_t k = weights.k, steps = steps_of(k);
  const uint8_t* rows[8];
  for (int r = 0; r < 8; ++r) {
    const int row = first + r < weights.num_rows ? first + r : weights.num_rows - 1;
    rows[r] = weights.data + row * weights.row_bytes;
  }
  uint8_t partial[8][kLanes * kBytes] = {};
  for (int64_t i = 0; i < steps; ++i) {
    __m256 low[8], high[8];
    for (int r = 0; r < 8; ++r) {
      const uint8_t* p = rows[r] + i * kLanes * kBytes;
      if ((i + 1) * kLanes > k) {
        memcpy(partial[r], p, static_cast<size_t>((k - i * kLanes) * kBytes));
        p = partial[r];
      } else {
        // A walk of sixteen rows side by side is more than the hardware foresees.
        _mm_prefetch(reinterpret_cast<const char*>(p + 512), _MM_HINT_T0);
      }
      const Sixteen values = load_16<kType>(p);
      low[r] = values.low;
      high[r] = values.high;
    }
    transpose_8x8(low);
    transpose_8x8(high);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      _mm256_store_ps(to + (kPlace[j] * steps + i) * kRows, low[j]);
      _mm256_store_ps(to + (kPlace[j + 8] * steps + i) * kRows, high[j]);
    }
  }
}

// ---- the product ----

struct Sums {
  __m256 of[2][kTileTokens];  // [row vector][token]
};

// One partial sum of each output.
REALM_INLINE void sum_lane(const float* panel, const float* tile, int64_t steps, Sums& sums) {
  __m256 acc[2][kTileTokens];
  for (auto& row : acc) {
    for (__m256& a : row) a = _mm256_setzero_ps();
  }
#pragma GCC unroll 4
  for (int64_t i = 0; i < steps; ++i) {
    const __m256 w0 = _mm256_load_ps(panel + i * kRows), w1 = _mm256_load_ps(panel + i * kRows + 8);
#pragma GCC unroll 6
    for (int t = 0; t < kTileTokens; ++t) {
      const __m256 x = _mm256_broadcast_ss(tile + i * kTileTokens + t);
      acc[0][t] = _mm256_fmadd_ps(w0, x, acc[0][t]);
      acc[1][t] = _mm256_fmadd_ps(w1, x, acc[1][t]);
    }
  }
  for (int r = 0; r < 2; ++r) {
    for (int t = 0; t < kTileTokens; ++t) sums.of[r][t] = acc[r][t];
  }
}
REALM_INLINE void add(Sums& a, const Sums& b) {
  for (int r = 0; r < 2; ++r) {
    for (int t = 0; t < kTileTokens; ++t) a.of[r][t] = _mm256_add_ps(a.of[r][t], b.of[r][t]);
  }
}

// The sum of a quarter of the partial sums.
void sum_quarter(const float* panel, const float* tile, int64_t steps, Sums& sums) {
  const int64_t w = steps * kRows, x = steps * kTileTokens;
  Sums other, last;
  sum_lane(panel, tile, steps, sums);
  sum_lane(panel + w, tile + x, steps, other);
  add(sums, other);
  sum_lane(panel + 2 * w, tile + 2 * x, steps, other);
  sum_lane(panel + 3 * w, tile + 3 * x, steps, last);
  add(other, last);
  add(sums, other);
}

// The halves of a tile's results until both are there.
struct alignas(64) TileState {
  Sums even, odd;
};

void multiply_panel(const float* panel, const std::byte* packed, int64_t num_tokens, int64_t k,
                    TileState* state) {
  const auto* tiles = reinterpret_cast<const float*>(packed);
  for (int quarter = 0; quarter < 4; ++quarter) {
    for (int64_t tile = 0; tile < num_tiles_of(num_tokens); ++tile, tiles += tile_floats(k)) {
      Sums sums;
      sum_quarter(panel + quarter * panel_floats(k), tiles, steps_of(k), sums);
      Sums& half = quarter < 2 ? state[tile].even : state[tile].odd;
      if (quarter % 2 == 0) {
        half = sums;
      } else {
        add(half, sums);
      }
    }
  }
}

void store_results(TileState* state, int first_row, int num_rows, int64_t num_tokens, float* out,
                   int64_t out_stride) {
  for (int64_t t = 0; t < num_tokens; ++t) {
    TileState& tile = state[t / kTileTokens];
    const int64_t at = t % kTileTokens;
    alignas(32) float row[kRows];
    for (int r = 0; r < 2; ++r) {
      _mm256_store_ps(row + 8 * r, _mm256_add_ps(tile.even.of[r][at], tile.odd.of[r][at]));
    }
    memcpy(out + t * out_stride + first_row, row, static_cast<size_t>(num_rows) * sizeof(float));
  }
}

void multiply(const WeightRows& weights, const std::byte* packed, int64_t num_tokens, float* out,
              int64_t out_stride, uint8_t* scratch) {
  float* panel = reinterpret_cast<float*>(scratch);
  auto* state = reinterpret_cast<TileState*>(panel + 4 * panel_floats(weights.k));
  const auto pack = weights.format->type == DType::kF32   ? pack_rows<DType::kF32>
                    : weights.format->type == DType::kF16 ? pack_rows<DType::kF16>
                                                          : pack_rows<DType::kBF16>;
  for (int row = 0; row < weights.num_rows; row += kRows) {
    pack(weights, row, panel);
    pack(weights, row + 8, panel + 8);
    multiply_panel(panel, packed, num_tokens, weights.k, state);
    const int rows = weights.num_rows - row < kRows ? weights.num_rows - row : kRows;
    store_results(state, row, rows, num_tokens, out, out_stride);
  }
}

}  // namespace

const FloatPanel* float_panel() {
  static constexpr FloatPanel panel = {
      .name = "float panel",
      .tile_tokens = kTileTokens,
      .from = 5,
      .rows = kPanelRows,
      .packed_bytes =
          [](int64_t num_tokens, int64_t k) {
            return 4 * num_tiles_of(num_tokens) * tile_floats(k) * int64_t{sizeof(float)};
          },
      .pack =
          [](const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t tile,
             std::byte* to) {
            pack_tokens(x, stride, num_tokens, k, tile, reinterpret_cast<float*>(to));
          },
      .scratch_bytes =
          [](int64_t num_tokens, int64_t k) {
            return 4 * panel_floats(k) * int64_t{sizeof(float)} +
                   num_tiles_of(num_tokens) * int64_t{sizeof(TileState)};
          },
      .multiply = multiply,
  };
  return &panel;
}

}  // namespace realm::cpu::avx2
