// Products of BF16 weights by bfloat16 tiles, of any number of tokens.
//
// Activations are the sum of two bfloat16 (bf16_tiles_amx.h), weights are one as they are. A sum
// goes over the blocks of 32 elements in order, in each over the activations' high parts and then
// the low ones, all in one tile of floats. The columns of a tile do not know of each other, so a
// token's results are the same bits in any batch; they are not those of the other instruction sets,
// which sum up in another order and keep activations whole.
//
// Few tokens (up to two tiles) pass 32 rows at a time where they lie, since memory is what is
// waited for. For many, a stretch of rows is copied to tiles that stay in the second-level cache,
// and all of it passes by while two tiles of tokens by kSpan blocks stay in the first-level cache.
#include <immintrin.h>
#include <string.h>

#include "backends/cpu/bf16_tiles_amx.h"
#include "backends/cpu/matmul_amx.h"
#include "backends/cpu/tiles_amx.h"
#include "backends/cpu/transpose_avx512.h"

#define REALM_INLINE static inline __attribute__((always_inline))

namespace realm::cpu::amx {
namespace {

constexpr Bf16Parts kParts = Bf16Parts::kHighLow;
constexpr int kPair = 2 * kTile;            // rows, or tokens, of two tiles
constexpr int64_t kSpan = 8;                // blocks
constexpr int64_t kStretchBytes = 1 << 20;  // of weight tiles
constexpr int64_t kRowsMax = 8 * kPanelRows;
constexpr int64_t kFewTokens = kPair;
constexpr int64_t kAhead = 3;  // blocks that are asked for before they are read

// Sixteen weight rows by 32 elements.
struct alignas(64) WeightTile {
  uint16_t of[kTile][kBf16K];
};
struct alignas(64) Sums {
  float of[kTile][kTile];  // [row][token]
};

// Two tiles of rows as they lie in memory, the next blocks' `block` bytes on.
struct Weights {
  const uint8_t* tiles[2];
  int64_t stride;  // between rows
  int64_t block;
};

template <typename T>
const uint8_t* bytes_of(const T* p) {
  return reinterpret_cast<const uint8_t*>(p);
}

// ---- weights to tiles ----

REALM_INLINE __mmask32 first_halves(int64_t count) {
  return count >= kBf16K ? ~__mmask32{0} : (__mmask32{1} << count) - 1;
}

// The block at element `at` of sixteen rows or fewer.
REALM_INLINE void fill_tile(const uint8_t* data, int64_t row_bytes, int rows, int64_t at, int64_t k,
                            WeightTile& to) {
  const __mmask32 some = first_halves(k - at);
  for (int r = 0; r < rows; ++r) {
    _mm512_store_si512(to.of[r], _mm512_maskz_loadu_epi16(some, data + r * row_bytes + 2 * at));
  }
}

// ---- products ----

// Two tiles of tokens, the low parts and the next blocks so many bytes on.
struct Tokens {
  const uint8_t* tiles[2];
  int64_t stride;  // between rows
  int64_t part, block;
};

// One block of two tiles of rows by one or two of tokens. Tiles 0 and 1 are the sums of the first
// tokens, 2 and 3 of the second.
template <bool kTwo>
REALM_INLINE void multiply_block(const Weights& w, const Tokens& x, int64_t block) {
  tile_load<4>(w.tiles[0] + block * w.block, w.stride);
  tile_load<5>(w.tiles[1] + block * w.block, w.stride);
#pragma GCC unroll 2
  for (int part = 0; part < 2; ++part) {
    const int64_t at = block * x.block + part * x.part;
    tile_load<6>(x.tiles[0] + at, x.stride);
    if constexpr (kTwo) tile_load<7>(x.tiles[1] + at, x.stride);
    tile_multiply_bf16<0, 4, 6>();
    tile_multiply_bf16<1, 5, 6>();
    if constexpr (!kTwo) continue;
    tile_multiply_bf16<2, 4, 7>();
    tile_multiply_bf16<3, 5, 7>();
  }
}

REALM_INLINE void zero_sums() {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
}

// [tile of tokens][tile of rows]
REALM_INLINE void load_sums(const Sums* from) {
  tile_load<0>(&from[0], 64);
  tile_load<1>(&from[1], 64);
  tile_load<2>(&from[2], 64);
  tile_load<3>(&from[3], 64);
}
REALM_INLINE void store_sums(Sums* to) {
  tile_store<0>(&to[0]);
  tile_store<1>(&to[1]);
  tile_store<2>(&to[2]);
  tile_store<3>(&to[3]);
}

void store_results(const Sums& sums, int rows, int64_t tokens, float* out, int64_t out_stride) {
  if (rows <= 0) return;
  __m512i r[kTile];
  for (int i = 0; i < kTile; ++i) r[i] = _mm512_load_si512(sums.of[i]);
  transpose_16x16(r);
  const auto mask = static_cast<__mmask16>(rows >= kTile ? 0xffffu : (1u << rows) - 1);
  for (int64_t t = 0; t < kTile && t < tokens; ++t) {
    _mm512_mask_storeu_epi32(out + t * out_stride, mask, r[t]);
  }
}

// ---- few tokens ----

struct FewScratch {
  Sums sums[4];
  WeightTile tail[2];  // the last block where it is not whole
};

template <bool kTwo>
void multiply_few(const WeightRows& weights, const uint8_t* packed, int64_t num_tokens, float* out,
                  int64_t out_stride, FewScratch& scratch) {
  const int64_t k = weights.k, whole = k / kBf16K, row_bytes = weights.row_bytes;
  const int columns = num_tokens < kTile ? static_cast<int>(num_tokens) : kTile;
  const int64_t part = 64 * columns;  // narrow tiles have no gaps
  const Tokens tokens{.tiles = {packed, packed + bf16_blocks(k) * 2 * part},
                      .stride = 4 * columns,
                      .part = part,
                      .block = 2 * part};
  for (int row = 0; row < weights.num_rows; row += kPair) {
    const int left = weights.num_rows - row;
    const uint8_t* data = weights.data + row * row_bytes;
    const int rows[2] = {left < kTile ? left : kTile, left > kPair   ? kTile
                                                      : left > kTile ? left - kTile
                                                                     : 0};
    // Where there is no second tile of rows the first stands in for it; its sums are dropped.
    const Weights pair{.tiles = {data, rows[1] > 0 ? data + kTile * row_bytes : data},
                       .stride = row_bytes,
                       .block = 2 * kBf16K};
    const TileSession session(TileShape{
        .columns = columns, .first_rows = rows[0], .second_rows = rows[1] > 0 ? rows[1] : rows[0]});
    // No hardware prefetcher follows 32 rows side by side. Past the rows' ends, the next ones are
    // asked for, which follow these in memory.
    const int64_t next = left > kPair || weights.more ? kPair * row_bytes : 0;
    zero_sums();
    for (int64_t block = 0; block < whole; ++block) {
      int64_t at = (block + kAhead) * pair.block;
      if (at >= row_bytes) at += next - row_bytes;
      for (int r = 0; r < kPair; ++r) {
        _mm_prefetch(reinterpret_cast<const char*>(data + at + r * row_bytes), _MM_HINT_T0);
      }
      multiply_block<kTwo>(pair, tokens, block);
    }
    if (k > whole * kBf16K) {
      for (int rt = 0; rt < 2; ++rt) {
        fill_tile(pair.tiles[rt], row_bytes, rows[rt > 0 && rows[1] > 0 ? 1 : 0], whole * kBf16K, k,
                  scratch.tail[rt]);
      }
      const Weights tail{
          .tiles = {bytes_of(scratch.tail), bytes_of(scratch.tail + 1)}, .stride = 64, .block = 0};
      multiply_block<kTwo>(tail, tokens, whole);
    }
    store_sums(scratch.sums);
    for (int tile = 0; tile < (kTwo ? 4 : 2); ++tile) {
      const int64_t token = tile / 2 * kTile;
      store_results(scratch.sums[tile], rows[tile % 2], num_tokens - token,
                    out + token * out_stride + row + tile % 2 * kTile, out_stride);
    }
  }
}

// ---- many tokens ----

// [tile of rows][block], whole pairs of tiles of rows.
int64_t tiles_of_rows(int64_t rows, int64_t k) {
  return (rows + kPair - 1) / kPair * 2 * bf16_blocks(k);
}
int64_t rows_of_stretch(int64_t k) {
  const int64_t rows =
      kStretchBytes / (tiles_of_rows(kPair, k) * int64_t{sizeof(WeightTile)}) * kPair;
  return rows < kPair ? kPair : rows > kRowsMax ? kRowsMax : rows;
}

void fill_stretch(const WeightRows& weights, int first, int num_rows, WeightTile* to) {
  const int64_t blocks = bf16_blocks(weights.k);
  for (int row = 0; row < num_rows; row += kTile) {
    const int rows = num_rows - row < kTile ? num_rows - row : kTile;
    const uint8_t* data = weights.data + (first + row) * weights.row_bytes;
    for (int64_t block = 0; block < blocks; ++block) {
      fill_tile(data, weights.row_bytes, rows, block * kBf16K, weights.k, *to++);
    }
  }
}

struct ManyScratch {
  Sums sums[kRowsMax / kPair][4];
};

void multiply_many(const WeightRows& weights, const uint8_t* packed, int64_t num_tokens, float* out,
                   int64_t out_stride, ManyScratch& scratch) {
  constexpr int64_t kPart = sizeof(Bf16Tokens);
  const int64_t k = weights.k, blocks = bf16_blocks(k);
  const auto stretch = static_cast<int>(rows_of_stretch(k));
  auto* tiles = reinterpret_cast<WeightTile*>(&scratch + 1);
  const TileSession session(TileShape{});
  for (int first = 0; first < weights.num_rows; first += stretch) {
    const int left = weights.num_rows - first, rows = left < stretch ? left : stretch;
    fill_stretch(weights, first, rows, tiles);
    for (int64_t t = 0; t < num_tokens; t += kPair) {
      const uint8_t* x = packed + bf16_tokens_at(k, t / kTile, 0, kParts) * kPart;
      const int64_t other = num_tokens - t > kTile ? bf16_tokens_at(k, 1, 0, kParts) * kPart : 0;
      const Tokens tokens{.tiles = {x, x + other}, .stride = 64, .part = kPart, .block = 2 * kPart};
      for (int64_t begin = 0; begin < blocks; begin += kSpan) {
        const int64_t end = blocks - begin < kSpan ? blocks : begin + kSpan;
        for (int row = 0; row < rows; row += kPair) {
          const WeightTile* w = tiles + row / kTile * blocks;
          const Weights pair{.tiles = {bytes_of(w), bytes_of(rows - row > kTile ? w + blocks : w)},
                             .stride = 64,
                             .block = sizeof(WeightTile)};
          Sums* sums = scratch.sums[row / kPair];
          if (begin == 0) {
            zero_sums();
          } else {
            load_sums(sums);
          }
          for (int64_t block = begin; block < end; ++block) {
            multiply_block<true>(pair, tokens, block);
          }
          store_sums(sums);
          if (end < blocks) continue;
          for (int tile = 0; tile < 4; ++tile) {
            const int64_t token = t + tile / 2 * kTile;
            store_results(sums[tile], rows - row - tile % 2 * kTile, num_tokens - token,
                          out + token * out_stride + first + row + tile % 2 * kTile, out_stride);
          }
        }
      }
    }
  }
}

void multiply(const WeightRows& weights, const std::byte* packed, int64_t num_tokens, float* out,
              int64_t out_stride, uint8_t* scratch) {
  const auto* x = reinterpret_cast<const uint8_t*>(packed);
  if (num_tokens > kFewTokens) {
    return multiply_many(weights, x, num_tokens, out, out_stride,
                         *reinterpret_cast<ManyScratch*>(scratch));
  }
  auto& few = *reinterpret_cast<FewScratch*>(scratch);
  const auto run = num_tokens > kTile ? multiply_few<true> : multiply_few<false>;
  run(weights, x, num_tokens, out, out_stride, few);
}

void pack(const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t tile,
          std::byte* to) {
  if (num_tokens < kTile) {
    return pack_narrow_bf16_tokens(x, stride, num_tokens, k, kParts,
                                   reinterpret_cast<uint16_t*>(to));
  }
  pack_bf16_tokens(x, stride, num_tokens, k, tile, kParts, reinterpret_cast<Bf16Tokens*>(to));
}

int64_t packed_bytes(int64_t num_tokens, int64_t k) {
  return bf16_tokens_bytes(num_tokens, k, kParts);
}

int64_t scratch_bytes(int64_t num_tokens, int64_t k) {
  if (num_tokens <= kFewTokens) return sizeof(FewScratch);
  return static_cast<int64_t>(sizeof(ManyScratch)) +
         tiles_of_rows(rows_of_stretch(k), k) * static_cast<int64_t>(sizeof(WeightTile));
}

}  // namespace

const FloatPanel* bf16_panel() {
  static constexpr FloatPanel panel = {.name = "bf16 tiles",
                                       .tile_tokens = kTile,
                                       .from = 1,
                                       .rows = kRowsMax,
                                       .packed_bytes = packed_bytes,
                                       .pack = pack,
                                       .scratch_bytes = scratch_bytes,
                                       .multiply = multiply};
  return &panel;
}

}  // namespace realm::cpu::amx
