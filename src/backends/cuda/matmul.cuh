// What the kernels of the matrix product share: their arguments, and the rows of each format that
// the tables of matmul.cu gather.
#pragma once

#include <cuda_fp16.h>

#include <algorithm>

#include "backends/cuda/context.cuh"
#include "backends/cuda/elementwise.cuh"
#include "backends/cuda/tiles.cuh"

namespace realm::cuda {

struct ProductPart {
  WeightSource weight;
  const float* bias;   // [rows] or null
  float* out;          // [tokens, rows]
  int64_t out_stride;  // floats
  int row_tile_begin;  // of the weight: where a slice starts
  int first_tile;      // of this part among all parts' tiles of rows
};

// Activations that are a norm's output, to be normed by the product that takes them.
struct NormedInput {
  const float* x;       // [tokens, dim]
  int64_t stride;       // floats
  const float* weight;  // null: the activations are there already
  float eps;
  int dim;
};

// Parts of one type: their rows follow each other in the grid.
struct Product {
  ProductPart parts[MatMul::kMaxParts];
  int num_parts;
  int num_row_tiles;       // of all parts
  int other_tile;          // of a product with weights of two types: where the second's begin
  const __nv_bfloat16* x;  // [tokens, k_padded]
  NormedInput norm;        // in place of x
  int64_t k_padded;
  int tokens;
  bool accumulate;
  // Of gated products, whose two parts are gate and up: act(gate) * up, as the next product's x.
  __nv_bfloat16* gated_out;
  int64_t gated_stride;  // elements
  Activation activation;

  __host__ __device__ const ProductPart& part_of(int tile) const {
    int p = 0;
    while (p + 1 < num_parts && tile >= parts[p + 1].first_tile) ++p;
    return parts[p];
  }
};

// Adds bias and what was there, and writes one output.
__device__ inline void write_output(const ProductPart& part, bool accumulate, int row, int token,
                                    float value) {
  if (row >= part.weight.rows) return;
  if (part.bias != nullptr) value += part.bias[row];
  float* out = part.out + token * part.out_stride + row;
  *out = accumulate ? *out + value : value;
}

__device__ inline void write_gated(const Product& p, int row, int token, float gate, float up) {
  if (row >= p.parts[0].weight.rows) return;
  if (p.parts[0].bias != nullptr) gate += p.parts[0].bias[row];
  if (p.parts[1].bias != nullptr) up += p.parts[1].bias[row];
  p.gated_out[token * p.gated_stride + row] =
      __float2bfloat16_rn(gate_with(p.activation, gate, up));
}

struct ProductKernels {
  DType type;
  // For few tokens; x in order.
  Status (*matvec)(Context&, const Product&);
  // The same for a gated product; null where the type has none.
  Status (*gated_matvec)(Context&, const Product&);
  // For many tokens; x permuted.
  Status (*matmul)(Context&, const Product&);
  // The same gated by SiLU, its output permuted too; null where the type has none.
  Status (*gated_matmul)(Context&, const Product&) = nullptr;
  // For one token or a few (goes_to_integers), normed or not; null where the type has none.
  Status (*integer_matvec)(Context&, const Product&) = nullptr;
  Status (*integer_gated_matvec)(Context&, const Product&) = nullptr;
  // Of this type's product and one of the same input with Q6_K weights, at once; null where the
  // type has none.
  Status (*integer_matvec_with_q6_k)(Context&, const Product&, const Product&) = nullptr;
  Status (*matmul_with_q6_k)(Context&, const Product&, const Product&) = nullptr;
};

// Whether a product of so many tokens and columns is one of integers, where its type has the
// kernel: the activations of all tokens have to fit in shared memory.
inline constexpr int kIntegerTokens = 2;
inline int integer_shared_bytes(const Context& context) {
  return std::min(200 * 1024, context.shared_max - 12 * 1024);
}
inline bool goes_to_integers(const Context& context, const ProductKernels& kernels, int64_t tokens,
                             int64_t k_padded) {
  return kernels.integer_matvec != nullptr && !context.batch_invariant &&
         tokens <= kIntegerTokens && tokens * (k_padded * 9 / 4) <= integer_shared_bytes(context);
}

// The 16-bit form of x: bfloat16 (or half precision, Compute::kFp16) [tokens, k_padded] in one of
// the context's areas, zeros past k; in order for few tokens, permuted for many.
inline int64_t padded_columns(int64_t k) {
  return (k + kTileColumns - 1) / kTileColumns * kTileColumns;
}
// Where column c of a unit goes in permuted order, that in which the steps of a unit take them
// (tiles.cuh): place 16 s + 2 t + {0, 1, 8, 9} holds columns 32 t + 4 s + {0, 1, 2, 3}.
__host__ __device__ inline int64_t permuted_place(int64_t column) {
  const int64_t in_unit = column % kUnitColumns;
  const int64_t t = in_unit / 32, s = in_unit % 32 / 4, i = in_unit % 4;
  return column - in_unit + 16 * s + 2 * t + i % 2 + 8 * (i / 2);
}

// The parts of `op` that have the type of part `first`.
Result<Product> product_of(const Context& context, const MatMul& op, int first);

NormedInput normed_input(const Context::Ready& ready);

// Of a type, for what products multiply (Context::compute); each is defined beside its kernels'
// instances, matmul_<types>.cu. Null where there are none.
const ProductKernels* find_product_kernels(const Context& context, DType type);

// Two activations as the 16 bits that products take, half precision cut to what it can hold.
__device__ inline uint32_t pack_16(bool is_half, float low, float high) {
  if (!is_half) return pack_pair(low, high);
  constexpr float kMost = 65504.0f;
  const __half2 pair =
      __floats2half2_rn(fminf(fmaxf(low, -kMost), kMost), fminf(fmaxf(high, -kMost), kMost));
  return *reinterpret_cast<const uint32_t*>(&pair);
}

}  // namespace realm::cuda
