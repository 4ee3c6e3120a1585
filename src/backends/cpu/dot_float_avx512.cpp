// Products of some tokens, too few to pay for a panel, with float weights on AVX-512: lanes are
// elements, four rows by six tokens of sums stay in registers, and weights are widened as they are
// loaded. Rows are read once from memory, the next ones asked for meanwhile, and again from the
// second-level cache for every six tokens.
//
// The order of a sum is that of dot_rows (kernels.inc.h): sixteen partial sums over k mod 16, then
// the tree of reduce_add.
#define REALM_ISA avx512
#include "backends/cpu/dot_float_avx512.h"

#include <string.h>

#include "backends/cpu/simd.h"

namespace realm::cpu::avx512 {
namespace {

constexpr int kRows = 4;            // of a tile
constexpr int kGroup = 6;           // tokens of a tile
constexpr int64_t kSpanSteps = 64;  // of 16 elements, whose activations stay in the L1 cache

int64_t steps_of(int64_t k) {
  return (k + kLanes - 1) / kLanes;
}
int64_t group_floats(int64_t k) {
  return steps_of(k) * kGroup * kLanes;
}

template <DType kType>
REALM_INLINE __m512 widen(const uint8_t* p, __mmask16 some) {
  if constexpr (kType == DType::kF32) return _mm512_maskz_loadu_ps(some, p);
  const __m256i h = _mm256_maskz_loadu_epi16(some, p);
  if constexpr (kType == DType::kF16) return _mm512_cvtph_ps(h);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
template <DType kType>
REALM_INLINE __m512 widen(const uint8_t* p) {
  return widen<kType>(p, 0xffff);
}

// Sums of a tile between two spans of k: [token][row].
struct alignas(64) Partial {
  Vec of[kGroup * kRows];
};

struct Tile {
  const uint8_t* rows[kRows];
  const uint8_t* ahead[kRows];  // rows that are asked for meanwhile
  const float* x;               // of the group of tokens
  int64_t k;
};

// Steps [begin, end) of the tile's sums.
template <DType kType, int kTokens>
void add_span(const Tile& tile, int64_t begin, int64_t end, Partial& partial) {
  constexpr int kBytes = kType == DType::kF32 ? 4 : 2;
  __m512 acc[kTokens][kRows];
#pragma GCC unroll 6
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      acc[t][r] = begin == 0 ? _mm512_setzero_ps() : partial.of[t * kRows + r].v;
    }
  }
  const auto step = [&](int64_t i, auto load) __attribute__((always_inline)) {
    __m512 w[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) w[r] = load(tile.rows[r] + i * kLanes * kBytes);
#pragma GCC unroll 6
    for (int t = 0; t < kTokens; ++t) {
      const __m512 x = _mm512_load_ps(tile.x + (i * kGroup + t) * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) acc[t][r] = _mm512_fmadd_ps(w[r], x, acc[t][r]);
    }
  };
  const int64_t whole = tile.k / kLanes < end ? tile.k / kLanes : end;
  for (int64_t i = begin; i < whole; ++i) {
    // A line is two steps of 16-bit weights: even steps ask for two rows, odd ones for the others.
    const int first = kBytes == 4 ? 0 : static_cast<int>(i % 2) * 2;
#pragma GCC unroll 4
    for (int r = 0; r < kBytes; ++r) {
      _mm_prefetch(reinterpret_cast<const char*>(tile.ahead[first + r] + i * kLanes * kBytes),
                   _MM_HINT_T1);
    }
    step(
        i, [](const uint8_t* p) __attribute__((always_inline)) { return widen<kType>(p); });
  }
  if (whole < end) {
    const auto some = static_cast<__mmask16>((1u << (tile.k % kLanes)) - 1);
    step(
        whole, [&](const uint8_t* p)
                   __attribute__((always_inline)) { return widen<kType>(p, some); });
  }
#pragma GCC unroll 6
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) partial.of[t * kRows + r].v = acc[t][r];
  }
}

void store_tile(Partial& partial, int tokens, int num_rows, float* out, int64_t out_stride) {
  for (int t = 0; t < tokens; t += 4) {
    Vec of_four[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      of_four[i] = t * kRows + i < kGroup * kRows ? partial.of[t * kRows + i] : zero();
    }
    float sums[kLanes];
    store(sums, reduce_add_16(of_four));
    for (int i = 0; i < 4 && t + i < tokens; ++i) {
      memcpy(out + (t + i) * out_stride, sums + i * kRows,
             static_cast<size_t>(num_rows < kRows ? num_rows : kRows) * sizeof(float));
    }
  }
}

// Four rows from `first` on; rows past the end repeat the last one, their sums are dropped.
void set_rows(const WeightRows& weights, int first, const uint8_t** rows) {
  for (int r = 0; r < kRows; ++r) {
    const int row = first + r < weights.num_rows ? first + r : weights.num_rows - 1;
    rows[r] = weights.data + row * weights.row_bytes;
  }
}

// What is read after the rows of `tile` in this span: the next rows, then the next span, then the
// rows that follow.
void set_ahead(const WeightRows& weights, int row, bool last_span, int64_t offset, Tile& tile) {
  memcpy(tile.ahead, tile.rows, sizeof(tile.ahead));
  if (row + kRows < weights.num_rows) {
    set_rows(weights, row + kRows, tile.ahead);
  } else if (!last_span || weights.more) {
    set_rows(weights, 0, tile.ahead);
    for (const uint8_t*& ahead : tile.ahead) ahead += offset;
  }
}

template <DType kType>
void multiply(const WeightRows& weights, const float* packed, int64_t num_tokens, float* out,
              int64_t out_stride, Partial* partials) {
  constexpr int64_t kStepBytes = kLanes * (kType == DType::kF32 ? 4 : 2);
  const int64_t k = weights.k, steps = steps_of(k);
  for (int64_t t = 0; t < num_tokens; t += kGroup, packed += group_floats(k)) {
    const int tokens = num_tokens - t < kGroup ? static_cast<int>(num_tokens - t) : kGroup;
    const auto add = tokens > 4   ? add_span<kType, 6>
                     : tokens > 2 ? add_span<kType, 4>
                                  : add_span<kType, 2>;
    for (int64_t begin = 0; begin < steps; begin += kSpanSteps) {
      const bool last = steps - begin <= kSpanSteps;
      const int64_t end = last ? steps : begin + kSpanSteps;
      for (int row = 0; row < weights.num_rows; row += kRows) {
        Tile tile{.rows = {}, .ahead = {}, .x = packed, .k = k};
        set_rows(weights, row, tile.rows);
        const int64_t next_rows = weights.num_rows * weights.row_bytes - begin * kStepBytes;
        set_ahead(weights, row, last, last ? next_rows : kSpanSteps * kStepBytes, tile);
        Partial& partial = partials[row / kRows];
        add(tile, begin, end, partial);
        if (!last) continue;
        store_tile(partial, tokens, weights.num_rows - row, out + t * out_stride + row, out_stride);
      }
    }
  }
}

}  // namespace

int64_t some_tokens_bytes(int64_t num_tokens, int64_t k) {
  return (num_tokens + kGroup - 1) / kGroup * group_floats(k) * int64_t{sizeof(float)};
}

void pack_some_tokens(const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t begin,
                      int64_t end, float* to) {
  const int64_t places = (num_tokens + kGroup - 1) / kGroup * kGroup;
  for (int64_t t = begin; t < end && t < places; ++t) {
    float* out = to + t / kGroup * group_floats(k) + t % kGroup * kLanes;
    const int64_t steps = steps_of(k);
    for (int64_t i = 0; i < steps; ++i) {
      // Tokens past the last one are zeros; their sums are dropped.
      const int64_t left = t < num_tokens ? k - i * kLanes : 0;
      const auto some = static_cast<__mmask16>(left < kLanes ? (1u << left) - 1 : 0xffffu);
      _mm512_store_ps(out + i * kGroup * kLanes,
                      _mm512_maskz_loadu_ps(some, left > 0 ? x + t * stride + i * kLanes : x));
    }
  }
}

int64_t some_tokens_scratch_bytes() {
  return kPanelRows / kRows * int64_t{sizeof(Partial)};
}

void multiply_some_tokens(const WeightRows& weights, const float* packed, int64_t num_tokens,
                          float* out, int64_t out_stride, uint8_t* scratch) {
  auto* partials = reinterpret_cast<Partial*>(scratch);
  switch (weights.format->type) {
    case DType::kF32:
      return multiply<DType::kF32>(weights, packed, num_tokens, out, out_stride, partials);
    case DType::kF16:
      return multiply<DType::kF16>(weights, packed, num_tokens, out, out_stride, partials);
    default:
      return multiply<DType::kBF16>(weights, packed, num_tokens, out, out_stride, partials);
  }
}

}  // namespace realm::cpu::avx512
