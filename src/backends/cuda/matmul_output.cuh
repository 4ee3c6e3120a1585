// What the kernels of the matrix product for many tokens share: the order of their blocks, and how
// they write a tile's sums.
#pragma once

#include "backends/cuda/matmul.cuh"

namespace realm::cuda {

// Blocks in the order in which they start: of up to kTogether blocks of tokens, one for each, then
// the next rows. What runs at a time then needs few rows of weights, which come from memory once,
// and few enough tokens that their activations stay in the L2 cache.
struct BlockPlace {
  static constexpr int kTogether = 8;
  int rows, tokens;
  __device__ BlockPlace(int index, int row_blocks, int token_blocks) {
    const int group = index / (kTogether * row_blocks), within = index % (kTogether * row_blocks);
    const int together = min(kTogether, token_blocks - group * kTogether);
    rows = within / together;
    tokens = group * kTogether + within % together;
  }
};

__device__ inline void add_to(float* to, float value) {
  asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(to), "f"(value) : "memory");
}

// Value i of eight-token group j of lane 4 g + t is row g + 8 (i / 2), token 8 j + 2 t + i % 2.
// What is added to is not read here: the memory adds, once each. Writes groups first, first + step,
// ... of `values`.
template <int kGroups>
__device__ void write_values(const ProductPart& part, const Product& p, int row0, int token0,
                             int token_end, int step, int lane, const float (&values)[kGroups][4]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = row0 + lane / 4 + 8 * r;
    if (row >= part.weight.rows) continue;
    const float bias = part.bias != nullptr ? part.bias[row] : 0.0f;
    const int first = token0 + 2 * (lane % 4);
    float* to = part.out + first * part.out_stride + row;
    const int64_t stride = part.out_stride, group_stride = step * stride;
#pragma unroll
    for (int j = 0; j < kGroups; ++j, to += group_stride) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (first + step * j + i >= token_end) continue;
        const float value = values[j][2 * r + i] + bias;
        if (p.accumulate) {
          add_to(to + i * stride, value);
        } else {
          to[i * stride] = value;
        }
      }
    }
  }
}

// Of SiLU alone: each activation is spelled out for every value of the tile.
__device__ inline float silu_gate(float gate, float up) {
  return __fdividef(gate, 1.0f + __expf(-gate)) * up;
}

// Rows g are the gate's, rows g + 8 the same rows of up. Neighbours swap a token each, so that one
// has two rows of one token, which lie side by side in the next product's x.
template <int kGroups>
__device__ void write_gated_values(const Product& p, int row0, int token0, int token_end, int step,
                                   int lane, const float (&values)[kGroups][4]) {
  const int row = row0 + lane / 4, rows = p.parts[0].weight.rows;
  const bool odd = lane / 4 % 2 != 0;
  float bias[2] = {};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (p.parts[i].bias != nullptr && row < rows) bias[i] = p.parts[i].bias[row];
  }
  __nv_bfloat16* const to = p.gated_out + permuted_place(row - odd);
  const int64_t stride = p.gated_stride;
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
    const float(&v)[4] = values[j];
    const float a = silu_gate(v[0] + bias[0], v[2] + bias[1]);
    const float b = silu_gate(v[1] + bias[0], v[3] + bias[1]);
    const float other = __shfl_xor_sync(0xffffffffu, odd ? a : b, 4);
    const int token = token0 + step * j + 2 * (lane % 4) + odd;
    if (token >= token_end || row - odd >= rows) continue;
    *reinterpret_cast<__nv_bfloat162*>(to + token * stride) =
        odd ? __floats2bfloat162_rn(other, b) : __floats2bfloat162_rn(a, other);
  }
}

template <bool kGated, int kGroups>
__device__ void write_groups(const ProductPart& part, const Product& p, int part_tile, int token0,
                             int token_end, int step, int lane, const float (&values)[kGroups][4]) {
  if constexpr (kGated) {
    write_gated_values<kGroups>(p, part_tile * kTileRows / 2, token0, token_end, step, lane,
                                values);
  } else {
    write_values<kGroups>(part, p, part_tile * kTileRows, token0, token_end, step, lane, values);
  }
}

}  // namespace realm::cuda
