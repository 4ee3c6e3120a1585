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
template <DigitSplit kDigits>
struct SuperStep {
  int64_t token_tile;
  int row_tile;
  bool two;  // tiles of tokens

  SuperStep(const Work& work, int64_t index) {
    const bool by_rows = kDigits.count == 2 && work.row_tiles == 2;
    token_tile = 2 * (by_rows ? index / 2 : index);
    row_tile = by_rows ? static_cast<int>(index % 2) : 0;
    two = token_tile + 1 < work.num_tiles;
  }
  static int64_t count(const Work& work) {
    return (work.num_tiles + 1) / 2 * (kDigits.count == 2 ? work.row_tiles : 1);
  }
};

template <bool kUnsigned, int kSums, int kWeights, int kTokens>
REALM_INLINE void multiply_digit() {
  if constexpr (kUnsigned) {
    tile_multiply_unsigned<kSums, kWeights, kTokens>();
  } else {
    tile_multiply<kSums, kWeights, kTokens>();
  }
}

template <DigitSplit kDigits>
REALM_INLINE void multiply_quarter(const Work& work, const SuperTokens* x,
                                   const SuperStep<kDigits>& step, int quarter) {
  const SuperTile* w = work.scratch->super;
  const int8_t* first = w[step.row_tile].digits[0][quarter][0];
  const int8_t* second =
      kDigits.count == 2 ? w[step.row_tile].digits[1][quarter][0] : w[1].digits[0][quarter][0];
  tile_load<6>(x[step.token_tile].codes[16 * quarter], 64);
  tile_load<4>(first, 64);
  multiply_digit<kDigits.first_unsigned, 0, 4, 6>();
  tile_load<5>(second, 64);
  multiply_digit<kDigits.second_unsigned, 1, 5, 6>();
  if (!step.two) return;
  tile_load<7>(x[step.token_tile + 1].codes[16 * quarter], 64);
  multiply_digit<kDigits.first_unsigned, 2, 4, 7>();
  multiply_digit<kDigits.second_unsigned, 3, 5, 7>();
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

// The same of sums of digits in memory.
template <DigitSplit kDigits, int kSub, bool kMin>
REALM_INLINE void add_quarter(const SuperTile& w, const SuperTokens& x, int quarter,
                              const int32_t (*sums)[kTile][kTile], float (*acc)[kTile]) {
  const int row = 4 * quarter;
  __m512i of[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    of[i] = _mm512_load_si512(sums[0][row + i]);
    if constexpr (kDigits.count == 2) {
      const __m512i second = _mm512_load_si512(sums[1][row + i]);
      of[i] = _mm512_add_epi32(of[i], _mm512_slli_epi32(second, kDigits.shift));
    }
  }
  add_rows<kSub, kMin, kDigits.negated>(w, x, row, of, acc);
}

// Four rows of a step whose sums lie in memory.
template <DigitSplit kDigits, int kSub, bool kMin>
REALM_INLINE void take_up_quarter(const Work& work, const SuperTokens* tokens, int64_t index,
                                  int quarter) {
  const SuperStep<kDigits> step(work, index);
  const SuperTile* w = work.scratch->super;
#pragma GCC unroll 2
  for (int tile = 0; tile < 2; ++tile) {
    if (tile == 1 && !step.two) break;
    const auto* sums = work.scratch->sums + 2 * tile;
    const SuperTokens& x = tokens[step.token_tile + tile];
    auto& acc = work.acc[step.token_tile + tile].of;
    if constexpr (kDigits.count == 2) {
      add_quarter<kDigits, kSub, kMin>(w[step.row_tile], x, quarter, sums, acc[step.row_tile]);
    } else {
      add_quarter<kDigits, kSub, kMin>(w[0], x, quarter, sums, acc[0]);
      add_quarter<kDigits, kSub, kMin>(w[1], x, quarter, sums + 1, acc[1]);
    }
  }
}

template <DigitSplit kDigits, int kSub, bool kMin>
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

// For up to two tiles of tokens, where unpacking takes longer than the products: a tile of rows is
// unpacked, which is integer work, while the tile unit is at the one before, four rows to a quarter
// of its products, and the sums of the one before that are taken up.
template <typename F>
void unpack_and_multiply(const WeightRows& weights, const Work& work, const RowPointers* rows) {
  constexpr DigitSplit kDigits = kDigitsOf<F>;
  const BlockFormat& format = *weights.format;
  const bool two = work.num_tiles == 2;
  const int64_t steps = weights.k / 256 * work.row_tiles;
  const auto* tokens = reinterpret_cast<const SuperTokens*>(work.packed);
  for (int64_t s = 0; s < steps + 2; ++s) {
    const int64_t last = s - 1, taken = s - 2;
    SuperTile& to = work.scratch->super[s % 2];
    const SuperTile& w = work.scratch->super[last & 1];
    const bool multiplies = last >= 0 && last < steps;
    const SuperTokens* x = tokens + last / work.row_tiles * work.num_tiles;
    if (multiplies) {
      tile_zero<0>();
      tile_zero<1>();
      tile_zero<2>();
      tile_zero<3>();
    }
    for (int quarter = 0; quarter < 4; ++quarter) {
      if (multiplies) {
        tile_load<6>(x[0].codes[16 * quarter], 64);
        tile_load<4>(w.digits[0][quarter][0], 64);
        multiply_digit<kDigits.first_unsigned, 0, 4, 6>();
        if constexpr (kDigits.count == 2) {
          tile_load<5>(w.digits[1][quarter][0], 64);
          multiply_digit<kDigits.second_unsigned, 1, 5, 6>();
        }
        if (two) {
          tile_load<7>(x[1].codes[16 * quarter], 64);
          multiply_digit<kDigits.first_unsigned, 2, 4, 7>();
          if constexpr (kDigits.count == 2) multiply_digit<kDigits.second_unsigned, 3, 5, 7>();
        }
      }
      if (taken >= 0) {
        const int64_t row_tile = taken % work.row_tiles;
        const SuperTokens* of = tokens + taken / work.row_tiles * work.num_tiles;
        for (int64_t tile = 0; tile < work.num_tiles; ++tile) {
          add_quarter<kDigits, F::kSub, F::kHasMin>(to, of[tile], quarter,
                                                    work.scratch->sums + 4 * (s % 2) + 2 * tile,
                                                    work.acc[tile].of[row_tile]);
        }
      }
      if (s < steps) {
        unpack_tile<F>(format, rows[s % work.row_tiles],
                       s / work.row_tiles * bytes_of_block<F>(format), 4 * quarter, 4 * quarter + 4,
                       to);
      }
    }
    if (!multiplies) continue;
    auto* sums = work.scratch->sums + 4 * (1 - s % 2);
    tile_store<0>(sums[0]);
    if (kDigits.count == 2) tile_store<1>(sums[1]);
    if (!two) continue;
    tile_store<2>(sums[2]);
    if (kDigits.count == 2) tile_store<3>(sums[3]);
  }
}

// ---- smaller blocks ----

template <int kSub, int kSet>
REALM_INLINE void multiply_sub(const SmallTile& w, const SmallTokens& x, int64_t sub) {
  tile_zero<kSet>();
  tile_load<4 + kSet % 2>(w.codes + small_codes_at<kSub>(sub), kSmallStride<kSub>);
  tile_load<6 + kSet % 2>(x.codes[sub * kSub / 4][0], 64);
  tile_multiply<kSet, 4 + kSet % 2, 6 + kSet % 2>();
}

// Sub-blocks of one tile of tokens and one of rows. Other work is done in parts while the tile unit
// is busy: between(part), part < kParts.
constexpr int kParts = 8;
template <int kSub, bool kMin, typename Between>
REALM_INLINE void multiply_small(const Work& work, const SmallTile& w, const SmallTokens& x,
                                 int64_t k, int64_t token_tile, int row_tile, Between between) {
  constexpr int kAhead = 4;
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
  // Two products at a time; they are given back when the next two and other work are on their way,
  // and taken up after that, so that neither is waited for.
  int part = 0;
  const auto step = [&]<int kFirst>(int64_t sub) __attribute__((always_inline)) {
    constexpr int kOther = 2 - kFirst;
    if (sub < subs) multiply_sub<kSub, kFirst>(w, x, sub);
    if (sub + 1 < subs) multiply_sub<kSub, kFirst + 1>(w, x, sub + 1);
    if (part < kParts) between(part++);
    if (sub >= 2 && sub - 2 < subs) tile_store<kOther>(sums[(sub - 2) % kAhead]);
    if (sub >= 2 && sub - 1 < subs) tile_store<kOther + 1>(sums[(sub - 1) % kAhead]);
    if (sub >= 4 && sub - 4 < subs) add(sub - 4);
    if (sub >= 4 && sub - 3 < subs) add(sub - 3);
  };
  for (int64_t sub = 0; sub < subs + 4; sub += 4) {
    step.template operator()<0>(sub);
    step.template operator()<2>(sub + 2);
  }
  while (part < kParts) between(part++);
#pragma GCC unroll 16
  for (int r = 0; r < kTile; ++r) _mm512_store_ps(of[r], acc[r]);
}

// A stretch of a tile of rows is unpacked while the tile unit is at the one before.
template <typename F>
void unpack_and_multiply_small(const WeightRows& weights, const Work& work,
                               const RowPointers* rows) {
  constexpr int kRows = kTile / kParts;
  const BlockFormat& format = *weights.format;
  const int64_t steps = (weights.k + kSmallK - 1) / kSmallK * work.row_tiles;
  const auto elements = [&](int64_t step) {
    const int64_t left = weights.k - step / work.row_tiles * kSmallK;
    return left < kSmallK ? left : int64_t{kSmallK};
  };
  const auto unpack = [&](int64_t step, int part) __attribute__((always_inline)) {
    const int64_t at = step / work.row_tiles * kSmallK / format.block_elements * format.block_bytes;
    unpack_small<F>(format, rows[step % work.row_tiles], at, elements(step), kRows * part,
                    kRows * part + kRows, work.scratch->small[step % 2]);
  };
  for (int part = 0; part < kParts; ++part) unpack(0, part);
  for (int64_t step = 0; step < steps; ++step) {
    const auto* tokens =
        reinterpret_cast<const SmallTokens*>(work.packed) + step / work.row_tiles * work.num_tiles;
    for (int64_t tile = 0; tile < work.num_tiles; ++tile) {
      const bool unpacks = tile + 1 == work.num_tiles && step + 1 < steps;
      multiply_small<F::kSub, F::kHasMin>(work, work.scratch->small[step % 2], tokens[tile],
                                          elements(step), tile,
                                          static_cast<int>(step % work.row_tiles), [&](int part) {
                                            if (unpacks) unpack(step + 1, part);
                                          });
    }
  }
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
    auto* memory = reinterpret_cast<Scratch*>(scratch);
    const Work work{.packed = x.packed,
                    .num_tiles = token_tiles(num_tokens),
                    .row_tiles = weights.num_rows > kTile ? 2 : 1,
                    .acc = reinterpret_cast<Accumulators*>(scratch + sizeof(Scratch)),
                    .scratch = memory};
    RowPointers rows[2];
    for (int rt = 0; rt < 2; ++rt) {
      rows[rt].tile = rt;
      rows[rt].next_panel = weights.data + (weights.more ? kPanelRows * weights.row_bytes : 0);
      rows[rt].cold = weights.cold;
    }
    for (int i = 0; i < 2 * kTile; ++i) {
      // Rows past the end repeat the last one; their sums are dropped.
      const int row = i < weights.num_rows ? i : weights.num_rows - 1;
      rows[i / kTile].row[i % kTile] = weights.data + row * weights.row_bytes;
    }
    memset(work.acc, 0, static_cast<size_t>(work.num_tiles) * sizeof(Accumulators));
    const TileSession session(kSuper ? 64 : F::kSub);
    if constexpr (!kSuper) {
      unpack_and_multiply_small<F>(weights, work, rows);
    } else if (work.num_tiles <= 2) {
      unpack_and_multiply<F>(weights, work, rows);
    } else {
      const BlockFormat& format = *weights.format;
      for (int64_t block = 0; block < weights.k / 256; ++block) {
        for (int rt = 0; rt < work.row_tiles; ++rt) {
          unpack_tile<F>(format, rows[rt], block * bytes_of_block<F>(format), 0, kTile,
                         memory->super[rt]);
        }
        multiply_super<kDigitsOf<F>, F::kSub, F::kHasMin>(work, block);
      }
    }
    store_results(work, weights.num_rows, num_tokens, out, out_stride);
  }
};

void panel(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
           int64_t out_stride, uint8_t* scratch) {
  using Function = decltype(&panel);
  if (by_stretches(weights.format->type, x.group)) {
    return stretch_kernel_for<Function, Panel>(weights.format->type)(weights, x, num_tokens, out,
                                                                     out_stride, scratch);
  }
  kernel_for<Function, Panel> (*weights.format)(weights, x, num_tokens, out, out_stride, scratch);
}

void dot(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
         int64_t out_stride, uint8_t* scratch) {
  if (by_stretches(weights.format->type, x.group)) {
    return dot_by_stretches(weights, x, num_tokens, out, out_stride);
  }
  avx512::dot_gathering(weights, x, num_tokens, out, out_stride, scratch);
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
      .dot = amx::dot,
      .panel = amx::panel,
      .scratch_bytes = amx::scratch_bytes,
      // Measured on Emerald Rapids: sixteen tokens cost a panel what one does. That is the time of
      // a pass of four tokens straight from the blocks and one of one or two, of more than a pass
      // of eight for blocks of 32, and of one pass where AVX-512 has no kernel for it.
      .panel_from =
          [](DType type) {
            if (!avx512::has_direct_dot(type)) return int64_t{4};
            if (avx512::has_codebook(type)) return int64_t{5};
            if (find_block_format(type)->block_elements == 256) return int64_t{6};
            return int64_t{9};
          },
      .token_layout = [](DType, int group) { return amx::token_layout(group == 256); },
      .activation_group =
          [](const BlockFormat& format, int64_t k) {
            return amx::has_stretches(format.type) && k % 256 == 0 ? 256 : block_group(format);
          },
      .float_panel =
          [](DType type) {
            static const bool has_tiles = has_bf16_tiles();
            return has_tiles && type == DType::kBF16 ? amx::bf16_panel() : avx512::float_panel();
          },
  };
  return &kernels;
}

}  // namespace realm::cpu
