// The table of kernels of one instruction set. All sets give the same bits (simd.h), so a test of
// one against another is an equality. Raw pointers only: these files are compiled with
// instruction-set flags and share no inline code with the rest of the program.
#pragma once

#include <stdint.h>

namespace realm::cpu {

enum class FloatType { kF32, kF16, kBF16 };
enum class ActivationKind { kSilu, kGeluTanh, kGelu, kRelu, kReluSquared, kSwigluClamped };
enum class CacheType { kF32, kF16, kQ8_0 };

// Attention of `num_tokens` consecutive tokens of one sequence for the query heads of one KV head.
struct AttentionTile {
  static constexpr int kMaxRows = 32;  // (token, head) pairs of a tile

  const float* q;          // row r at q + r_token * q_token_stride + r_head * head_dim
  int64_t q_token_stride;  // floats
  int num_tokens;
  int heads_per_kv;          // num_tokens * heads_per_kv <= kMaxRows
  const int32_t* positions;  // [num_tokens], ascending
  const int32_t* pages;      // page ids of the sequence
  const uint8_t* k_cache;    // of this KV head: page p at k_cache + p * k_page_stride
  const uint8_t* v_cache;
  int64_t k_page_stride, v_page_stride;  // bytes
  int64_t k_dim, v_dim;                  // head sizes, multiples of 16
  bool values_in_keys;                   // v_cache is k_cache; values are its first columns
  CacheType cache_type;
  const float* sinks;        // [heads_per_kv] or null
  float* out;                // row r at out + r_token * out_token_stride + r_head * v_dim
  int64_t out_token_stride;  // floats
  float scale, soft_cap;
  int64_t window;
  int64_t split;   // positions a split
  float* scratch;  // attention_scratch_floats(k_dim, v_dim)
};

inline constexpr int64_t attention_scratch_floats(int64_t k_dim, int64_t v_dim) {
  const int64_t rows = AttentionTile::kMaxRows;
  return 32 * k_dim + 32 * v_dim + rows * (32 + 2 * v_dim);
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
  void (*attention)(const AttentionTile& tile);
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
