// Many tokens on AMX: 32 weight rows by a stretch of k are unpacked into tiles once, then all
// tokens pass by, sixteen at a time. The tile unit needs sixteen cycles for 16 x 16 sums over up to
// 64 elements, and about as long to give a tile back through memory, where AVX-512 takes the sums
// up for the float part of matmul_kernels.h. So that neither waits for the other, a step's sums are
// taken up while the tile unit is at the next step.
#define REALM_ISA amx
#include "backends/cpu/matmul_amx.h"
#include "backends/cpu/matmul_avx512.h"
#include "backends/cpu/tiles_amx.h"
#include "backends/cpu/transpose_avx512.h"
#include "backends/cpu/weight_tiles_amx.h"

namespace realm::cpu::amx {
namespace {

struct alignas(64) Scratch {
  union {
    SuperTile super[2];
    SmallTile small[2];
  };
  int32_t sums[8][kTile][kTile];  // tiles given back
};

// [tile of tokens][2 tiles of rows][row][token]
struct alignas(64) Accumulators {
  float of[2][kTile][kTile];
};

struct Work {
  const std::byte* packed;  // the tokens' tiles
  int64_t num_tiles;
  int row_tiles;
  Accumulators* acc;
  Scratch* scratch;
};

// ---- blocks of 256 ----

// A step fills four tiles of sums over the block, of two tiles of tokens: both digits of one tile
// of rows, or the only digit of both. So each tile that is loaded is used twice.
template <int kDigits>
struct SuperStep {
  int64_t token_tile;
  int row_tile;
  bool two;  // tiles of tokens

  SuperStep(const Work& work, int64_t index) {
    const bool by_rows = kDigits == 2 && work.row_tiles == 2;
    token_tile = 2 * (by_rows ? index / 2 : index);
    row_tile = by_rows ? static_cast<int>(index % 2) : 0;
    two = token_tile + 1 < work.num_tiles;
  }
  static int64_t count(const Work& work) {
    return (work.num_tiles + 1) / 2 * (kDigits == 2 ? work.row_tiles : 1);
  }
};

// Of two digits the lower one is unsigned.
template <int kDigits, int kSums, int kTokens>
REALM_INLINE void multiply_first() {
  if constexpr (kDigits == 2) {
    tile_multiply_unsigned<kSums, 4, kTokens>();
  } else {
    tile_multiply<kSums, 4, kTokens>();
  }
}

template <int kDigits>
REALM_INLINE void multiply_quarter(const Work& work, const SuperTokens* x,
                                   const SuperStep<kDigits>& step, int quarter) {
  const SuperTile* w = work.scratch->super;
  const int8_t* first = w[step.row_tile].digits[0][quarter][0];
  const int8_t* second =
      kDigits == 2 ? w[step.row_tile].digits[1][quarter][0] : w[1].digits[0][quarter][0];
  tile_load<6>(x[step.token_tile].codes[16 * quarter], 64);
  tile_load<4>(first, 64);
  multiply_first<kDigits, 0, 6>();
  tile_load<5>(second, 64);
  tile_multiply<1, 5, 6>();
  if (!step.two) return;
  tile_load<7>(x[step.token_tile + 1].codes[16 * quarter], 64);
  multiply_first<kDigits, 2, 7>();
  tile_multiply<3, 5, 7>();
}

// Four rows of 16 tokens.
template <int kSub, bool kMin, bool kNegated>
REALM_INLINE void add_rows(const SuperTile& w, const SuperTokens& x, int first_row,
                           const __m512i* sums, float (*acc)[kTile]) {
  const __m512 dx = _mm512_load_ps(x.scales);
  constexpr int kPairs = kMin ? 128 / kSub : 1;
  __m512i token_sums[kPairs];
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
    token_sums[p] = _mm512_load_si512(kSub == 16 ? x.sums_16[p] : x.sums_32[p]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const int row = first_row + i;
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(w.d[row]), dx);
    const __m512 f = _mm512_cvtepi32_ps(sums[i]);
    __m512 a = _mm512_load_ps(acc[row]);
    a = kNegated ? _mm512_fnmadd_ps(scale, f, a) : _mm512_fmadd_ps(scale, f, a);
    if constexpr (kMin) {
      __m512i minima = _mm512_setzero_si512();
#pragma GCC unroll 8
      for (int p = 0; p < kPairs; ++p) {
        minima = _mm512_dpwssd_epi32(minima, token_sums[p], _mm512_set1_epi32(w.mins[row][p]));
      }
      a = _mm512_fnmadd_ps(_mm512_mul_ps(_mm512_set1_ps(w.dmin[row]), dx),
                           _mm512_cvtepi32_ps(minima), a);
    }
    _mm512_store_ps(acc[row], a);
  }
}

// Four rows of a step whose sums lie in memory.
template <int kDigits, int kSub, bool kMin>
REALM_INLINE void take_up_quarter(const Work& work, const SuperTokens* tokens, int64_t index,
                                  int quarter) {
  const SuperStep<kDigits> step(work, index);
#pragma GCC unroll 2
  for (int tile = 0; tile < 2; ++tile) {
    if (tile == 1 && !step.two) break;
    const auto* sums = work.scratch->sums + 2 * tile;
    const SuperTokens& x = tokens[step.token_tile + tile];
    auto& acc = work.acc[step.token_tile + tile].of;
    const int row = 4 * quarter;
    __m512i first[4], second[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      first[i] = _mm512_load_si512(sums[0][row + i]);
      second[i] = _mm512_load_si512(sums[1][row + i]);
    }
    if constexpr (kDigits == 2) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        first[i] = _mm512_add_epi32(first[i], _mm512_slli_epi32(second[i], 8));
      }
      add_rows<kSub, kMin, false>(work.scratch->super[step.row_tile], x, row, first,
                                  acc[step.row_tile]);
    } else {
      add_rows<kSub, kMin, true>(work.scratch->super[0], x, row, first, acc[0]);
      add_rows<kSub, kMin, true>(work.scratch->super[1], x, row, second, acc[1]);
    }
  }
}

template <int kDigits, int kSub, bool kMin>
void multiply_super(const Work& work, int64_t block) {
  const auto* x = reinterpret_cast<const SuperTokens*>(work.packed) + block * work.num_tiles;
  const int64_t count = SuperStep<kDigits>::count(work);
  for (int64_t index = 0; index <= count; ++index) {
    const SuperStep<kDigits> step(work, index);
    if (index < count) {
      tile_zero<0>();
      tile_zero<1>();
      tile_zero<2>();
      tile_zero<3>();
    }
#pragma GCC unroll 4
    for (int quarter = 0; quarter < 4; ++quarter) {
      if (index < count) multiply_quarter<kDigits>(work, x, step, quarter);
      if (index > 0) take_up_quarter<kDigits, kSub, kMin>(work, x, index - 1, quarter);
    }
    if (index == count) break;
    tile_store<0>(work.scratch->sums[0]);
    tile_store<1>(work.scratch->sums[1]);
    tile_store<2>(work.scratch->sums[2]);
    tile_store<3>(work.scratch->sums[3]);
  }
}

// ---- smaller blocks ----

template <int kSub, int kSet>
REALM_INLINE void multiply_sub(const int8_t* w, const int8_t* x, int32_t (*sums)[kTile]) {
  tile_zero<kSet>();
  tile_load<4 + kSet % 2>(w, kSub);
  tile_load<6 + kSet % 2>(x, 64);
  tile_multiply<kSet, 4 + kSet % 2, 6 + kSet % 2>();
  tile_store<kSet>(sums);
}

// Sub-blocks of one tile of tokens and one of rows.
template <int kSub, bool kMin>
void multiply_small(const Work& work, const SmallTokens& x, int64_t k, int64_t token_tile,
                    int row_tile) {
  constexpr int kAhead = 8;
  const SmallTile& w = work.scratch->small[row_tile];
  auto* sums = work.scratch->sums;
  float(*of)[kTile] = work.acc[token_tile].of[row_tile];
  __m512 acc[kTile];
#pragma GCC unroll 16
  for (int r = 0; r < kTile; ++r) acc[r] = _mm512_load_ps(of[r]);
  const int64_t subs = k / kSub;
  const auto add = [&](int64_t sub) __attribute__((always_inline)) {
    const int64_t group = sub * kSub / 32;
    const __m512 dx = _mm512_load_ps(x.scales[group]);
#pragma GCC unroll 16
    for (int r = 0; r < kTile; ++r) {
      const __m512 f = _mm512_cvtepi32_ps(_mm512_load_si512(sums[sub % kAhead][r]));
      acc[r] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_set1_ps(w.factors[sub][r]), dx), f, acc[r]);
    }
    if constexpr (kMin) {
      const __m512 weighted = _mm512_load_ps(x.weighted[group]);
#pragma GCC unroll 16
      for (int r = 0; r < kTile; ++r) {
        acc[r] = _mm512_fmadd_ps(_mm512_set1_ps(w.minima[sub][r]), weighted, acc[r]);
      }
    }
  };
  const auto multiply = [&]<int kSet>(int64_t sub) __attribute__((always_inline)) {
    multiply_sub<kSub, kSet>(w.codes + sub * kTile * kSub, x.codes[sub * kSub / 4][0],
                             sums[sub % kAhead]);
  };
  constexpr int kBatch = 4;
  for (int64_t sub = 0; sub < subs + kBatch; sub += kBatch) {
    if (sub < subs) multiply.template operator()<0>(sub);
    if (sub + 1 < subs) multiply.template operator()<1>(sub + 1);
    if (sub + 2 < subs) multiply.template operator()<2>(sub + 2);
    if (sub + 3 < subs) multiply.template operator()<3>(sub + 3);
    const int64_t end = sub < subs ? sub : subs;
    for (int64_t i = sub - kBatch; i >= 0 && i < end; ++i) add(i);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTile; ++r) _mm512_store_ps(of[r], acc[r]);
}

// ---- panels ----

void store_results(const Work& work, int num_rows, int64_t num_tokens, float* out,
                   int64_t out_stride) {
  for (int64_t t = 0; t < num_tokens; t += kTile) {
    for (int rt = 0; rt < work.row_tiles; ++rt) {
      __m512i r[kTile];
      for (int i = 0; i < kTile; ++i) r[i] = _mm512_load_si512(work.acc[t / kTile].of[rt][i]);
      transpose_16x16(r);
      const int rows = num_rows - kTile * rt < kTile ? num_rows - kTile * rt : kTile;
      const auto mask = static_cast<__mmask16>((1u << rows) - 1);
      for (int64_t i = 0; i < kTile && t + i < num_tokens; ++i) {
        _mm512_mask_storeu_epi32(out + (t + i) * out_stride + kTile * rt, mask, r[i]);
      }
    }
  }
}

template <typename F>
struct Panel {
  static void run(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                  float* out, int64_t out_stride, uint8_t* scratch) {
    constexpr bool kSuper = F::kElements == 256;
    const BlockFormat& format = *weights.format;
    auto* memory = reinterpret_cast<Scratch*>(scratch);
    const Work work{.packed = x.packed,
                    .num_tiles = token_tiles(num_tokens),
                    .row_tiles = weights.num_rows > kTile ? 2 : 1,
                    .acc = reinterpret_cast<Accumulators*>(scratch + sizeof(Scratch)),
                    .scratch = memory};
    RowPointers rows[2];
    for (int i = 0; i < 2 * kTile; ++i) {
      // Rows past the end repeat the last one; their sums are dropped.
      const int row = i < weights.num_rows ? i : weights.num_rows - 1;
      rows[i / kTile].row[i % kTile] = weights.data + row * weights.row_bytes;
      rows[i / kTile].row_bytes = weights.row_bytes;
    }
    memset(work.acc, 0, static_cast<size_t>(work.num_tiles) * sizeof(Accumulators));
    const TileSession session(kSuper ? 64 : F::kSub);
    if constexpr (kSuper) {
      for (int64_t block = 0; block < weights.k / 256; ++block) {
        for (int rt = 0; rt < work.row_tiles; ++rt) {
          unpack_super<F>(format, rows[rt], block * format.block_bytes, memory->super[rt]);
        }
        multiply_super<kOneDigit<F> ? 1 : 2, F::kSub, F::kHasMin>(work, block);
      }
    } else {
      for (int64_t begin = 0; begin < weights.k; begin += kSmallK) {
        const int64_t k = weights.k - begin < kSmallK ? weights.k - begin : kSmallK;
        const int64_t at = begin / format.block_elements * format.block_bytes;
        const auto* tokens =
            reinterpret_cast<const SmallTokens*>(work.packed) + begin / kSmallK * work.num_tiles;
        for (int rt = 0; rt < work.row_tiles; ++rt) {
          unpack_small<F>(format, rows[rt], at, k, memory->small[rt]);
          for (int64_t tile = 0; tile < work.num_tiles; ++tile) {
            multiply_small<F::kSub, F::kHasMin>(work, tokens[tile], k, tile, rt);
          }
        }
      }
    }
    store_results(work, weights.num_rows, num_tokens, out, out_stride);
  }
};

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch) {
  using Function = decltype(&panel);
  kernel_for<Function, Panel> (*weights.format)(weights, x, num_tokens, out, out_stride, scratch);
}

int64_t scratch_bytes(int64_t num_tokens) {
  const int64_t of_panel = static_cast<int64_t>(sizeof(Scratch)) +
                           token_tiles(num_tokens) * static_cast<int64_t>(sizeof(Accumulators));
  const int64_t of_dot = avx512::dot_scratch_bytes();
  return of_panel > of_dot ? of_panel : of_dot;
}

}  // namespace
}  // namespace realm::cpu::amx

namespace realm::cpu {

const MatMulKernels* amx_matmul_kernels() {
  static const MatMulKernels kernels = {
      .dot = avx512::dot,
      .panel = amx::panel,
      .scratch_bytes = amx::scratch_bytes,
      // Measured on Emerald Rapids: sixteen tokens cost a panel what one does, and take the time of
      // two passes straight from blocks of 256, of less than two from smaller ones, and of one
      // where AVX-512 has no kernel of its own for such passes.
      .panel_from =
          [](DType type) {
            if (!avx512::has_direct_dot(type)) return int64_t{4};
            return find_block_format(type)->block_elements == 256 ? int64_t{9} : int64_t{7};
          },
      .token_layout =
          [](DType type) {
            return amx::token_layout(find_block_format(type)->block_elements == 256);
          },
      .float_panel = avx512::float_panel(),
  };
  return &kernels;
}

}  // namespace realm::cpu
