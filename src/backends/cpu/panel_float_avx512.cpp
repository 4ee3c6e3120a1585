// Products of many tokens with float weights on AVX-512. Rows of F32, F16 or BF16 become a panel of
// floats in which 32 rows are the lanes of two registers; twelve tokens at a time, whose values are
// broadcast, pass over it: 24 sums that stay in registers, two multiply-adds a cycle, and nothing
// horizontal.
//
// The order of a sum is that of dot_rows (kernels.inc.h): sixteen partial sums over k mod 16, then
// a tree that adds those 8, 4, 2 and 1 apart. So the panel and the tokens are kept sorted by k mod
// 16, in the order in which a tree's leaves meet; a quarter of them at a time, which keeps what is
// read again for each tile in the second-level cache.
#include <immintrin.h>
#include <string.h>

#include "backends/cpu/dot_float_avx512.h"
#include "backends/cpu/matmul_avx512.h"
#include "backends/cpu/transpose_avx512.h"

#define REALM_INLINE static inline __attribute__((always_inline))

namespace realm::cpu::avx512 {
namespace {

constexpr int kLanes = 16;   // partial sums of an output
constexpr int kQuarter = 4;  // of them together
constexpr int kRows = kPanelRows;
constexpr int kTileTokens = 12;
constexpr int64_t kPanelFrom = 40;  // tokens; fewer go to dot_float_avx512.cpp

// Where the elements with k mod 16 == j stand: leaves that are added to each other side by side.
constexpr int kPlace[kLanes] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};

int64_t steps_of(int64_t k) {
  return (k + kLanes - 1) / kLanes;
}
int64_t num_tiles_of(int64_t num_tokens) {
  return (num_tokens + kTileTokens - 1) / kTileTokens;
}
// Floats of a partial sum's elements, of a tile and of a panel. Sixteen more of the panel's, since
// stores at equal distances of a power of two would all go to one set of the cache.
int64_t tile_lane_floats(int64_t k) {
  return steps_of(k) * kTileTokens;
}
int64_t panel_lane_floats(int64_t k) {
  return steps_of(k) * kRows + kLanes;
}

// ---- tokens: [quarter][tile][4 lanes][step][token] ----

void pack_tokens(const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t tile,
                 float* to) {
  const int64_t lane_floats = tile_lane_floats(k);
  const int64_t quarter = num_tiles_of(num_tokens) * kQuarter * lane_floats;
  constexpr auto kStored = static_cast<__mmask16>((1u << kTileTokens) - 1);
  const float* rows[kTileTokens];
  for (int t = 0; t < kTileTokens; ++t) {
    // The last token stands in for those that are not there.
    const int64_t wanted = tile * kTileTokens + t;
    rows[t] = x + (wanted < num_tokens ? wanted : num_tokens - 1) * stride;
  }
  float* out[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int place = kPlace[lane];
    out[lane] = to + place / kQuarter * quarter + tile * kQuarter * lane_floats +
                place % kQuarter * lane_floats;
  }
  for (int64_t i = 0; i < steps_of(k); ++i) {
    const int64_t left = k - i * kLanes;
    const auto some = static_cast<__mmask16>(left < kLanes ? (1u << left) - 1 : 0xffffu);
    __m512i r[kLanes];
    for (int t = 0; t < kTileTokens; ++t) {
      r[t] = _mm512_maskz_loadu_epi32(some, rows[t] + i * kLanes);
    }
    for (int t = kTileTokens; t < kLanes; ++t) r[t] = _mm512_setzero_si512();
    transpose_16x16(r);
    for (int lane = 0; lane < kLanes; ++lane) {
      _mm512_mask_storeu_epi32(out[lane] + i * kTileTokens, kStored, r[lane]);
    }
  }
}

// ---- weights: [16 lanes][step][row] ----

template <DType kType>
REALM_INLINE __m512 widen(const uint8_t* p) {
  if constexpr (kType == DType::kF32) return _mm512_loadu_ps(p);
  const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  if constexpr (kType == DType::kF16) return _mm512_cvtph_ps(h);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

// Sixteen rows from the group's row `first` on; rows past the last repeat it.
template <DType kType>
void pack_rows(const WeightRows& weights, int first, float* to) {
  constexpr int kBytes = kType == DType::kF32 ? 4 : 2;
  const int64_t k = weights.k, lane_floats = panel_lane_floats(k);
  const uint8_t* rows[16];
  for (int r = 0; r < 16; ++r) {
    const int row = first + r < weights.num_rows ? first + r : weights.num_rows - 1;
    rows[r] = weights.data + row * weights.row_bytes;
  }
  for (int64_t i = 0; i < steps_of(k); ++i) {
    const int64_t at = i * kLanes * kBytes, left = (k - i * kLanes) * kBytes;
    __m512i r[16];
    if (left >= kLanes * kBytes) {
      for (int row = 0; row < 16; ++row) {
        // A walk of sixteen rows side by side is more than the hardware foresees.
        _mm_prefetch(reinterpret_cast<const char*>(rows[row] + at + 512), _MM_HINT_T0);
        r[row] = _mm512_castps_si512(widen<kType>(rows[row] + at));
      }
    } else {
      for (int row = 0; row < 16; ++row) {
        alignas(64) uint8_t partial[kLanes * kBytes] = {};
        memcpy(partial, rows[row] + at, static_cast<size_t>(left));
        r[row] = _mm512_castps_si512(widen<kType>(partial));
      }
    }
    transpose_16x16(r);
    for (int lane = 0; lane < kLanes; ++lane) {
      _mm512_store_si512(to + kPlace[lane] * lane_floats + i * kRows, r[lane]);
    }
  }
}

// ---- the product ----

// Sums of a tile: [token][row].
struct alignas(64) Sums {
  float of[kTileTokens][kRows];
};

// What memory is asked for meanwhile: `bytes` a step, or none.
struct Ahead {
  const uint8_t* at;
  int64_t bytes;

  Ahead after(int64_t steps) const { return {at + steps * bytes, bytes}; }
};

// One partial sum of each output, on its own (kAdd false) or added to `sums`.
template <int kTokens, bool kAdd>
void sum_lane(const float* panel, const float* tile, int64_t steps, const Ahead& ahead,
              Sums& sums) {
  const uint8_t* line = ahead.at;
  __m512 acc[kTokens][2];
  for (auto& a : acc) a[0] = a[1] = _mm512_setzero_ps();
#pragma GCC unroll 2
  for (int64_t i = 0; i < steps; ++i) {
    _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1);
    line += ahead.bytes;
    const __m512 w0 = _mm512_load_ps(panel + i * kRows);
    const __m512 w1 = _mm512_load_ps(panel + i * kRows + 16);
#pragma GCC unroll 12
    for (int t = 0; t < kTokens; ++t) {
      const __m512 x = _mm512_set1_ps(tile[i * kTileTokens + t]);
      acc[t][0] = _mm512_fmadd_ps(w0, x, acc[t][0]);
      acc[t][1] = _mm512_fmadd_ps(w1, x, acc[t][1]);
    }
  }
#pragma GCC unroll 12
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r) {
      float* to = sums.of[t] + 16 * r;
      _mm512_store_ps(to, kAdd ? _mm512_add_ps(_mm512_load_ps(to), acc[t][r]) : acc[t][r]);
    }
  }
}
REALM_INLINE void add(Sums& a, const Sums& b, int tokens) {
  for (int t = 0; t < tokens; ++t) {
    for (int r = 0; r < kRows; r += 16) {
      _mm512_store_ps(a.of[t] + r,
                      _mm512_add_ps(_mm512_load_ps(a.of[t] + r), _mm512_load_ps(b.of[t] + r)));
    }
  }
}

// The sum of a quarter of the partial sums.
template <int kTokens>
void sum_quarter(const float* panel, const float* tile, int64_t k, const Ahead& ahead, Sums& sums) {
  const int64_t w = panel_lane_floats(k), x = tile_lane_floats(k), steps = steps_of(k);
  Sums other;
  sum_lane<kTokens, false>(panel, tile, steps, ahead, sums);
  sum_lane<kTokens, true>(panel + w, tile + x, steps, ahead.after(steps), sums);
  sum_lane<kTokens, false>(panel + 2 * w, tile + 2 * x, steps, ahead.after(2 * steps), other);
  sum_lane<kTokens, true>(panel + 3 * w, tile + 3 * x, steps, ahead.after(3 * steps), other);
  add(sums, other, kTokens);
}

// The halves of a tile's results until both are there.
struct TileState {
  Sums even, odd;
};

void multiply_panel(const float* panel, const float* tiles, int64_t num_tokens, int64_t k,
                    const Ahead& ahead, TileState* state) {
  const int64_t quarter_floats = kQuarter * tile_lane_floats(k);
  for (int quarter = 0; quarter < 4; ++quarter) {
    const float* lanes = panel + quarter * kQuarter * panel_lane_floats(k);
    for (int64_t t = 0; t < num_tokens; t += kTileTokens, tiles += quarter_floats) {
      const int64_t count = num_tokens - t;
      TileState& tile = state[t / kTileTokens];
      Sums& half = quarter < 2 ? tile.even : tile.odd;
      Sums second;
      Sums& sums = quarter % 2 == 0 ? half : second;
      // The first tile's products ask for the rows of the next panel.
      const Ahead lines =
          t == 0 ? ahead.after(quarter * kQuarter * steps_of(k)) : Ahead{ahead.at, 0};
      if (count > 8) {
        sum_quarter<12>(lanes, tiles, k, lines, sums);
      } else if (count > 4) {
        sum_quarter<8>(lanes, tiles, k, lines, sums);
      } else {
        sum_quarter<4>(lanes, tiles, k, lines, sums);
      }
      if (quarter % 2 != 0) add(half, second, static_cast<int>(count < 12 ? count : 12));
    }
  }
}

void multiply(const WeightRows& weights, const float* packed, int64_t num_tokens, float* out,
              int64_t out_stride, uint8_t* scratch) {
  float* panel = reinterpret_cast<float*>(scratch);
  auto* state = reinterpret_cast<TileState*>(panel + kLanes * panel_lane_floats(weights.k));
  const auto pack = weights.format->type == DType::kF32   ? pack_rows<DType::kF32>
                    : weights.format->type == DType::kF16 ? pack_rows<DType::kF16>
                                                          : pack_rows<DType::kBF16>;
  pack(weights, 0, panel);
  pack(weights, 16, panel + 16);
  const int64_t panel_bytes = kRows * weights.row_bytes;
  const Ahead ahead{weights.data + (weights.more ? panel_bytes : 0),
                    weights.more ? panel_bytes / (kLanes * steps_of(weights.k)) : 0};
  multiply_panel(panel, packed, num_tokens, weights.k, ahead, state);
  const auto rows = static_cast<uint32_t>((uint64_t{1} << weights.num_rows) - 1);
  for (int64_t t = 0; t < num_tokens; ++t) {
    const TileState& tile = state[t / kTileTokens];
    for (int r = 0; r < kRows; r += 16) {
      const __m512 sum = _mm512_add_ps(_mm512_load_ps(tile.even.of[t % kTileTokens] + r),
                                       _mm512_load_ps(tile.odd.of[t % kTileTokens] + r));
      _mm512_mask_storeu_ps(out + t * out_stride + r, static_cast<__mmask16>(rows >> r), sum);
    }
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
            if (num_tokens < kPanelFrom) return some_tokens_bytes(num_tokens, k);
            return kLanes * num_tiles_of(num_tokens) * tile_lane_floats(k) * int64_t{sizeof(float)};
          },
      .pack =
          [](const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t tile,
             std::byte* to) {
            float* floats = reinterpret_cast<float*>(to);
            if (num_tokens >= kPanelFrom)
              return pack_tokens(x, stride, num_tokens, k, tile, floats);
            pack_some_tokens(x, stride, num_tokens, k, tile * kTileTokens, (tile + 1) * kTileTokens,
                             floats);
          },
      .scratch_bytes =
          [](int64_t num_tokens, int64_t k) {
            if (num_tokens < kPanelFrom) return some_tokens_scratch_bytes();
            return kLanes * panel_lane_floats(k) * int64_t{sizeof(float)} +
                   num_tiles_of(num_tokens) * int64_t{sizeof(TileState)};
          },
      .multiply =
          [](const WeightRows& weights, const std::byte* packed, int64_t num_tokens, float* out,
             int64_t out_stride, uint8_t* scratch) {
            const auto* floats = reinterpret_cast<const float*>(packed);
            const auto run = num_tokens < kPanelFrom ? multiply_some_tokens : multiply;
            run(weights, floats, num_tokens, out, out_stride, scratch);
          },
  };
  return &panel;
}

}  // namespace realm::cpu::avx512
