// The table of kernels of one instruction set. All sets give the same bits (simd.h), so a test of
// one against another is an equality. Raw pointers only: these files are compiled with
// instruction-set flags and share no inline code with the rest of the program.
#pragma once

#include <stdint.h>

namespace realm::cpu {

enum class FloatType { kF32, kF16, kBF16 };
enum class ActivationKind { kSilu, kGeluTanh, kGelu, kRelu, kReluSquared, kSwigluClamped };
enum class CacheType { kF32, kF16, kBF16, kQ8_0, kE4M3 };

// Attention of `num_tokens` consecutive tokens of one sequence for `num_heads` consecutive query
// heads of one KV head. Row r of the tile: token r / num_heads, head r % num_heads.
struct AttentionTile {
  const float* q;  // row r at q + token * q_token_stride + head * q_head_stride
  int64_t q_token_stride, q_head_stride;  // floats
  int num_tokens, num_heads;
  const int32_t* positions;  // [num_tokens], ascending
  const int32_t* oldest;     // [num_tokens], ascending, or null: by the window
  const int32_t* pages;      // page ids of the sequence
  const uint8_t* k_cache;    // of this KV head: position i of page p at p * page_stride +
  const uint8_t* v_cache;    // i * row_stride
  int64_t k_page_stride, k_row_stride, v_page_stride, v_row_stride;  // bytes
  int64_t k_dim, v_dim;
  CacheType cache_type;
  const float* sinks;        // [num_heads] or null
  const float* slopes;       // [num_heads] or null
  float* out;                // row r at out + token * out_token_stride + head * v_dim
  int64_t out_token_stride;  // floats
  // A product times `scale` is a score in base 2, or with a soft cap the argument of its tanh, and
  // `cap` its factor.
  float scale, cap;
  int64_t window, split_positions;
};

inline constexpr float kLog2E = 1.44269504088896341f;

// Sizes that a kernel and its caller share. Static, so that no copy compiled for one instruction
// set serves another.
static constexpr int64_t attention_padded(int64_t dim) {
  return (dim + 15) / 16 * 16;
}
// Floats of one row's state over a split, opaque to the caller.
static constexpr int64_t attention_row_floats(int64_t v_dim) {
  return attention_padded(v_dim) + 32;
}
// Whether the query heads of one KV head make so much work of each cached element that packing it
// for tiles pays even for a single token. Not a matter of the tokens, whose bits must not depend on
// how many come together.
static constexpr bool attention_has_many_heads(int64_t heads, int64_t k_dim, int64_t v_dim) {
  return heads >= 16 && heads * (k_dim + v_dim) >= 4096;
}
// The first position that a token of the tile attends to; below 0: its text's first.
static constexpr int64_t attention_oldest(const AttentionTile& tile, int64_t token) {
  if (tile.oldest != nullptr) return tile.oldest[token];
  return tile.window > 0 ? tile.positions[token] - tile.window + 1 : 0;
}
// The positions of a split that the tile reads, from a block's begin on.
struct AttentionSpan {
  int64_t begin, end;
};
static constexpr AttentionSpan attention_span(const AttentionTile& tile, int64_t split) {
  const int64_t oldest = attention_oldest(tile, 0);
  const int64_t first = oldest > 0 ? oldest / 32 * 32 : 0;
  const int64_t begin = split * tile.split_positions, end = begin + tile.split_positions;
  const int64_t latest = tile.positions[tile.num_tokens - 1] + 1;
  return {begin > first ? begin : first, end < latest ? end : latest};
}

// One activation row quantized for integer dot products (quantized_rows.h).
struct QuantizedRow {
  int8_t* codes;  // [k]
  float* scales;  // [k / group]
  int16_t* sums;  // [k / 16] sums of codes
};

// Of row_kernels.inc.h; out may be x in all but combine.
struct RowKernels {
  // weight and bias may be null.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float* out, int64_t n,
                     float eps);
  void (*scale_cap)(const float* x, float scale, float soft_cap, float* out, int64_t n);
  void (*sigmoid)(const float* x, float* out, int64_t n);
  void (*softmax)(const float* x, float* out, int64_t n);
  // Rows of x lie x_stride floats apart; slots >= 1.
  void (*combine)(const float* x, int64_t x_stride, const float* weights, int64_t slots,
                  bool accumulate, float* out, int64_t n);
};

// Memory handed in is aligned to 64 bytes.
struct AttentionKernels {
  // Rows (tokens times heads) that share one widening of the cache: enough that it costs little,
  // few enough that queries and sums of the rows stay in a part of the second-level cache.
  int64_t (*tile_rows)(int64_t k_dim, int64_t v_dim);
  // Floats of the state of a tile's rows and of what a split works on.
  int64_t (*state_floats)(int64_t rows, int64_t v_dim);
  int64_t (*scratch_floats)(int64_t rows, int64_t k_dim, int64_t v_dim);
  // Attention over one split of the positions: sets the state of the tile's rows.
  void (*split)(const AttentionTile& tile, int64_t split, float* scratch, float* state);
  // Adds a later split's state to that of the ones before.
  void (*merge)(const AttentionTile& tile, const float* split_state, float* state);
  // The outputs from the state over all splits.
  void (*finish)(const AttentionTile& tile, float* state);
};

struct Kernels {
  void (*rms_norm)(const float* x, const float* weight, float* out, int64_t n, float eps);
  // table: n_rot/2 cosines, then n_rot/2 sines.
  void (*rope)(float* head, const float* table, int64_t n_rot, bool adjacent);
  // act(gate) where up is null.
  void (*gated_activation)(ActivationKind kind, const float* gate, const float* up, float* out,
                           int64_t n);
  void (*add)(const float* a, const float* b, float* out, int64_t n);
  void (*to_f16)(const float* x, uint16_t* out, int64_t n);
  // Q8_0 blocks, the bytes that the format table's encoder writes; n a multiple of 32.
  void (*to_q8_0)(const float* x, uint8_t* out, int64_t n);
  AttentionKernels attention;
  AttentionKernels attention_many_heads;  // where attention_has_many_heads; may be the same
  // out[t * out_stride + r] = dot(x row t, weight row r) for 16 or fewer weight rows.
  void (*dot_rows)(FloatType type, const uint8_t* weight, int64_t row_bytes, int num_rows,
                   const float* x, int64_t x_stride, int64_t num_tokens, int64_t k, float* out,
                   int64_t out_stride);
  // group 32 or 256; k a multiple of 32 (of 256 for group 256).
  void (*quantize_row)(const float* x, int64_t k, int group, QuantizedRow out);
  RowKernels rows;
};

// Null where not compiled in or not on this processor.
const Kernels* scalar_kernels();
#if defined(__x86_64__)
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
#elif defined(__aarch64__)
const Kernels* neon_kernels();
#endif

}  // namespace realm::cpu
