// Integer kernels of quantized matrix products, per instruction set, and the arithmetic they share.
//
// Activations are quantized to 8 bits in groups (32 elements, or 256 for formats with 256-element
// blocks). A block format gives integer codes q, integer sub-block scales s and mins m, and float
// factors d and dmin (formats/quant/unpacked.h). One output is a single float accumulator, in
// order:
//   blocks of 256:  acc = fma(d * dx, float(sum_j s_j * sum_i q_i x_i), acc)
//                   acc = fma(-(dmin * dx), float(sum_j m_j * sum_i x_i), acc)      if it has mins
//   smaller blocks: acc = fma((d * s_j) * dx, float(sum_i q_i x_i), acc)            per sub-block j
//                   acc = fma(-(dmin * m_j), dx * float(sum_i x_i), acc)            if it has mins
// Integer sums are exact in any order, so every kernel below gives the same bits. One instruction
// set takes some formats otherwise where k is a multiple of 256: AMX (stretch_amx.h).
#pragma once

#include <stdint.h>

#include <cstddef>
#include <string>

#include "backends/cpu/isa.h"
#include "formats/quant/quant_table.h"

namespace realm::cpu {

// All tokens of an op, quantized with one group size.
struct QuantizedTokens {
  const int8_t* codes;      // [tokens, k]
  const float* scales;      // [tokens, k / group]
  const int16_t* sums;      // [tokens, k / 16]: of codes
  const std::byte* packed;  // as the format's TokenLayout has them; only panel() reads it
  int64_t k;
  int group;
};

// The tokens as a panel kernel reads them: packed once an op, then read for every group of rows.
struct TokenLayout {
  int64_t tile_tokens;  // that are packed together
  int64_t (*bytes)(int64_t num_tokens, int64_t k);
  // Tokens tile * tile_tokens and following; `to` (64-byte aligned) holds all of them.
  void (*pack)(const QuantizedTokens& x, int64_t num_tokens, int64_t tile, std::byte* to);
};

// Up to kPanelRows weight rows (FloatPanel::rows for those) by all of k.
struct WeightRows {
  const BlockFormat* format;
  const uint8_t* data;
  int64_t row_bytes;
  int num_rows;
  int64_t k;
  bool more = false;  // the rows that follow in memory come next on this thread
  bool cold = false;  // the rows before these in memory were not the last ones on this thread
};

inline constexpr int kPanelRows = 32;

// Float weights by many tokens: dot_rows (kernels.h) for fewer, with the same bits. One that is for
// any number of tokens may have bits of its own, which depend on nothing but the token and the row.
struct FloatPanel {
  const char* name;
  int64_t tile_tokens;  // that are packed together
  int64_t from;         // tokens from which on it is the faster one; 1: the only one
  int64_t rows;         // at most that multiply() takes, a multiple of kPanelRows
  int64_t (*packed_bytes)(int64_t num_tokens, int64_t k);
  // Tokens tile * tile_tokens and following; `to` (64-byte aligned) holds all of them.
  void (*pack)(const float* x, int64_t stride, int64_t num_tokens, int64_t k, int64_t tile,
               std::byte* to);
  int64_t (*scratch_bytes)(int64_t num_tokens, int64_t k);
  // out[t * out_stride + r] for the rows, which are F32, F16 or BF16.
  void (*multiply)(const WeightRows& weights, const std::byte* packed, int64_t num_tokens,
                   float* out, int64_t out_stride, uint8_t* scratch);
};

struct MatMulKernels {
  // out[t * out_stride + r] for the rows and for tokens [0, num_tokens), straight from the packed
  // blocks: for few tokens. `scratch` has scratch_bytes(num_tokens).
  void (*dot)(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
              int64_t out_stride, uint8_t* scratch);
  // The same through an unpacked panel: for many tokens.
  void (*panel)(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
                int64_t out_stride, uint8_t* scratch);
  int64_t (*scratch_bytes)(int64_t num_tokens);
  // From how many tokens on panel() is the faster one.
  int64_t (*panel_from)(DType type);
  // What panel() expects in x.packed for that activation group; null where it reads the other
  // members.
  const TokenLayout* (*token_layout)(DType type, int group);
  // 32 or 256: what activations are quantized in for rows of k elements.
  int (*activation_group)(const BlockFormat& format, int64_t k);
  const FloatPanel* (*float_panel)(DType type);  // null where there is none

  // For float weights and so many tokens; null: dot_rows.
  const FloatPanel* float_panel_of(DType type, int64_t num_tokens) const;
  std::string describe(DType type, int64_t num_tokens) const;
};

const MatMulKernels& matmul_kernels(Isa isa);
const MatMulKernels* scalar_matmul_kernels();
#if defined(__x86_64__)
const MatMulKernels* avx2_matmul_kernels();
const MatMulKernels* avx512_matmul_kernels();
const MatMulKernels* amx_matmul_kernels();
#elif defined(__aarch64__)
const MatMulKernels* neon_matmul_kernels();
#endif

// The activation group of a format's blocks: 256 where they have 256 elements, else 32.
inline int block_group(const BlockFormat& format) {
  return format.block_elements == 256 ? 256 : 32;
}

}  // namespace realm::cpu
