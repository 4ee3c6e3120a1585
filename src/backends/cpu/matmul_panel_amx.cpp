// Many tokens on AMX: 32 weight rows by a stretch of k are unpacked into tiles once, then all
// tokens pass by, sixteen at a time. The tile unit needs sixteen cycles for 16 x 16 sums over up to
// 64 elements, and about as long to give a tile back through memory, where AVX-512 takes the sums
// up for the float part of matmul_kernels.h. So that neither waits for the other, sums are taken up
// two steps after their products.
#define REALM_ISA amx
#include "backends/cpu/matmul_amx.h"
#include "backends/cpu/matmul_avx512.h"
#include "backends/cpu/tiles_amx.h"
#include "backends/cpu/transpose_avx512.h"
#include "backends/cpu/weight_tiles_amx.h"

namespace realm::cpu::amx {
namespace {

constexpr int kRing = 4;  // steps whose sums lie in memory

struct alignas(64) Scratch {
  union {
    SuperTile super[2];
    SmallTile small[2];
  };
  int32_t sums[kRing][2][kTile][kTile];
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

// A step fills two tiles of sums over the block: both digits of one tile of rows, or the only digit
// of both.
template <int kDigits>
struct SuperStep {
  int64_t token_tile;
  int row_tile;

  SuperStep(const Work& work, int64_t step) {
    const bool by_rows = kDigits == 2 && work.row_tiles == 2;
    token_tile = by_rows ? step / 2 : step;
    row_tile = by_rows ? static_cast<int>(step % 2) : 0;
  }
  static int64_t count(const Work& work) {
    return kDigits == 2 ? work.num_tiles * work.row_tiles : work.num_tiles;
  }
};

template <int kDigits, int kSet>
REALM_INLINE void multiply_quarter(const Work& work, const SuperTokens* x,
                                   const SuperStep<kDigits>& step, int quarter) {
  const SuperTile* w = work.scratch->super;
  const int8_t* first = w[step.row_tile].digits[0][quarter][0];
  const int8_t* second =
      kDigits == 2 ? w[step.row_tile].digits[1][quarter][0] : w[1].digits[0][quarter][0];
  tile_load<6>(x[step.token_tile].codes[16 * quarter], 64);
  tile_load<4>(first, 64);
  tile_multiply<2 * kSet, 4, 6>();
  tile_load<5>(second, 64);
  tile_multiply<2 * kSet + 1, 5, 6>();
}

template <int kSub, bool kMin>
REALM_INLINE void add_row(const SuperTile& w, const SuperTokens& x, int row, __m512i sum, __m512 dx,
                          bool negated, float* acc) {
  const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(w.d[row]), dx);
  const __m512 f = _mm512_cvtepi32_ps(sum);
  __m512 a = _mm512_load_ps(acc);
  a = negated ? _mm512_fnmadd_ps(scale, f, a) : _mm512_fmadd_ps(scale, f, a);
  if constexpr (kMin) {
    __m512i minima = _mm512_setzero_si512();
    const auto* sums = kSub == 16 ? x.sums_16 : x.sums_32;
#pragma GCC unroll 8
    for (int p = 0; p < 128 / kSub; ++p) {
      minima = _mm512_dpwssd_epi32(minima, _mm512_load_si512(sums[p]),
                                   _mm512_set1_epi32(w.mins[row][p]));
    }
    a = _mm512_fnmadd_ps(_mm512_mul_ps(_mm512_set1_ps(w.dmin[row]), dx), _mm512_cvtepi32_ps(minima),
                         a);
  }
  _mm512_store_ps(acc, a);
}

// Four rows of a step whose sums lie in memory.
template <int kDigits, int kSub, bool kMin>
REALM_INLINE void take_up_quarter(const Work& work, const SuperTokens* tokens, int64_t index,
                                  int quarter) {
  const SuperStep<kDigits> step(work, index);
  const auto& sums = work.scratch->sums[index % kRing];
  const SuperTokens& x = tokens[step.token_tile];
  const __m512 dx = _mm512_load_ps(x.scales);
  Accumulators& acc = work.acc[step.token_tile];
#pragma GCC unroll 4
  for (int row = 4 * quarter; row < 4 * quarter + 4; ++row) {
    const __m512i first = _mm512_load_si512(sums[0][row]);
    const __m512i second = _mm512_load_si512(sums[1][row]);
    if constexpr (kDigits == 2) {
      const __m512i sum = _mm512_add_epi32(first, _mm512_slli_epi32(second, 8));
      add_row<kSub, kMin>(work.scratch->super[step.row_tile], x, row, sum, dx, false,
                          acc.of[step.row_tile][row]);
    } else {
      add_row<kSub, kMin>(work.scratch->super[0], x, row, first, dx, true, acc.of[0][row]);
      add_row<kSub, kMin>(work.scratch->super[1], x, row, second, dx, true, acc.of[1][row]);
    }
  }
}

template <int kSet>
REALM_INLINE void store_sums(const Work& work, int64_t index) {
  auto& sums = work.scratch->sums[index % kRing];
  tile_store<2 * kSet>(sums[0]);
  tile_store<2 * kSet + 1>(sums[1]);
}

// Step `index`; the sums of the one before it go to memory, those of the one before that are taken
// up.
template <int kDigits, int kSub, bool kMin, int kSet>
REALM_INLINE void super_step(const Work& work, const SuperTokens* x, int64_t index, int64_t count) {
  const SuperStep<kDigits> step(work, index);
  const bool multiplies = index < count;
  const bool takes_up = index >= 2;
  if (multiplies) {
    tile_zero<2 * kSet>();
    tile_zero<2 * kSet + 1>();
  }
#pragma GCC unroll 4
  for (int quarter = 0; quarter < 4; ++quarter) {
    if (multiplies) multiply_quarter<kDigits, kSet>(work, x, step, quarter);
    if (quarter == 0 && index >= 1 && index <= count) store_sums<1 - kSet>(work, index - 1);
    if (takes_up) take_up_quarter<kDigits, kSub, kMin>(work, x, index - 2, quarter);
  }
}

template <int kDigits, int kSub, bool kMin>
void multiply_super(const Work& work, int64_t block) {
  const auto* x = reinterpret_cast<const SuperTokens*>(work.packed) + block * work.num_tiles;
  const int64_t count = SuperStep<kDigits>::count(work);
  for (int64_t index = 0; index < count + 2; index += 2) {
    super_step<kDigits, kSub, kMin, 0>(work, x, index, count);
    if (index + 1 < count + 2) super_step<kDigits, kSub, kMin, 1>(work, x, index + 1, count);
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
  auto* sums = &work.scratch->sums[0][0];  // a ring of kAhead
  static_assert(kRing * 2 == kAhead);
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
      .panel_from = [](DType) { return int64_t{5}; },
      .token_layout =
          [](DType type) {
            return amx::token_layout(find_block_format(type)->block_elements == 256);
          },
      .float_panel = nullptr,
  };
  return &kernels;
}

}  // namespace realm::cpu
