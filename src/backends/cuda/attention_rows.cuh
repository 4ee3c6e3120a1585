// What the kernels of attention over runs of tokens share. Their rows are tokens and the query
// heads that share a KV head; a warp has 16, a thread of it rows g and g + 8 (lane 4 g + t), as the
// matrix units lay out sums.
#pragma once

#include <cuda_fp16.h>

#include "backends/cuda/attention.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"

namespace realm::cuda {

inline constexpr float kLog2e = 1.4426950408889634f, kLowest = -1e30f;

// What a block works on.
struct Work {
  int sequence, token, tokens;  // first token of the batch, and how many
  int tile_begin, tile_end;     // of positions
  int last;                     // position that is read
  // Of shared pages: the first part of the line with the same rows, and how many have them.
  int first_part, num_parts;
};

// Blocks count tiles of tokens through all sequences, the last ones first: they read the most.
__device__ inline Work find_work(const AttentionArgs& a, int tokens_of_tile,
                                 int positions_of_tile) {
  int total = 0;
  for (int s = 0; s < a.num_sequences; ++s) {
    total += (a.seq_start[s + 1] - a.seq_start[s] + tokens_of_tile - 1) / tokens_of_tile;
  }
  int tile = total - 1 - static_cast<int>(blockIdx.x);
  Work work{.sequence = -1};
  if (tile < 0) return work;
  for (int s = 0;; ++s) {
    const int begin = a.seq_start[s], count = a.seq_start[s + 1] - begin;
    const int tiles = (count + tokens_of_tile - 1) / tokens_of_tile;
    if (tile >= tiles) {
      tile -= tiles;
      continue;
    }
    work.sequence = s;
    work.token = begin + tile * tokens_of_tile;
    work.tokens = min(tokens_of_tile, count - tile * tokens_of_tile);
    break;
  }
  const int first = a.positions[work.token];
  work.last = a.positions[work.token + work.tokens - 1];
  const int reach = a.window > 0 ? max(0, first - static_cast<int>(a.window) + 1) : 0;
  work.tile_begin = reach / positions_of_tile;
  work.tile_end = work.last / positions_of_tile + 1;
  return work;
}

// One warp's 16 rows; a thread has rows g and g + 8.
struct RowState {
  int position[2];  // -1: no row
  float max[2], sum[2];
};

// Scores to weights, in place; the factor by which what was summed before has to shrink.
template <int kPositions, bool kMasked, bool kCapped>
__device__ void soften(const AttentionArgs& a, RowState& state, float (&scores)[kPositions / 2],
                       int begin, int lane, float (&shrink)[2]) {
  const float scale = kCapped ? kLog2e : a.scale * kLog2e;
  float tile_max[2] = {kLowest, kLowest};
#pragma unroll
  for (int i = 0; i < kPositions / 2; ++i) {
    const int row = i % 4 / 2;
    if constexpr (kCapped) scores[i] = cap_score(scores[i] * a.scale, a.soft_cap);
    if constexpr (kMasked) {
      const int position = begin + i / 4 * 8 + 2 * (lane % 4) + i % 2;
      const int own = state.position[row];
      const bool inside =
          position <= own && (a.window == 0 || position > own - static_cast<int>(a.window));
      if (!inside) scores[i] = -INFINITY;
    }
    tile_max[row] = fmaxf(tile_max[row], scores[i]);
  }
  float base[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    tile_max[r] = fmaxf(tile_max[r], __shfl_xor_sync(0xffffffffu, tile_max[r], 1));
    tile_max[r] = fmaxf(tile_max[r], __shfl_xor_sync(0xffffffffu, tile_max[r], 2));
    const float new_max = fmaxf(state.max[r], tile_max[r]);
    shrink[r] = power_of_two((state.max[r] - new_max) * scale);
    state.max[r] = new_max;
    state.sum[r] *= shrink[r];
    base[r] = new_max * scale;
  }
#pragma unroll
  for (int i = 0; i < kPositions / 2; ++i) {
    const int row = i % 4 / 2;
    scores[i] = power_of_two(fmaf(scores[i], scale, -base[row]));
    state.sum[row] += scores[i];
  }
}

template <int kDim>
__device__ void write_rows(const AttentionArgs& a, const Work& work, int kv_head, int row0,
                           int lane, const RowState& state, const float (&out)[kDim / 2]) {
  const int group = a.heads_per_kv;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = state.sum[r];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (state.position[r] < 0) continue;
    const int row = row0 + lane / 4 + 8 * r, head = kv_head * group + row % group;
    float shrink = 1.0f;
    if (a.sinks != nullptr) {
      const float scale = a.soft_cap > 0.0f ? 1.0f : a.scale;
      const float own = state.max[r] * scale, sink = a.sinks[head], max = fmaxf(own, sink);
      shrink = expf(own - max);
      sum = sum * shrink + expf(sink - max);
    }
    const float factor = shrink / sum;
    const int64_t token = work.token + row / group;
    float* to = a.out + (token * a.heads + head) * kDim;
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      const int column = 8 * d + 2 * (lane % 4);
      const float x = out[4 * d + 2 * r] * factor, y = out[4 * d + 2 * r + 1] * factor;
      if (a.out16 == nullptr) {
        *reinterpret_cast<float2*>(to + column) = make_float2(x, y);
      } else {
        const int64_t at = static_cast<int64_t>(head) * kDim + column;
        __nv_bfloat16* place =
            a.out16 + token * a.out16_stride + (a.out16_permuted ? permuted_place(at) : at);
        *reinterpret_cast<__nv_bfloat162*>(place) = __floats2bfloat162_rn(x, y);
      }
    }
  }
}

}  // namespace realm::cuda
