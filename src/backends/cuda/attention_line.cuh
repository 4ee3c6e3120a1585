// What the kernels of attention of one token a sequence share: the pages of all sequences stand in
// one line, which is cut into parts for the blocks; shares of a sequence are merged in a fixed
// order.
#pragma once

#include "backends/cuda/attention.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {

// Of a launch: sequences; pages of a block at least; blocks that share a KV head of a sequence at
// most.
inline constexpr int kSequences = 256, kPagesMin = 4, kSharesMax = 32;
inline constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

struct Partials {
  float* values;  // [parts, kv_heads, 2, heads_per_kv, v_dim + 2]: sums, maximum, total
  int* counters;  // [sequences, kv_heads], zero
};

// Of kTiles times 8 heads. Lane 4 g + t has, of heads 2 t and 2 t + 1 of each 8: elements 16 d + g
// and 16 d + g + 8 of their sums; maxima, in powers of two; its own positions' share of the totals.
template <int kDim, int kTiles>
struct State {
  float out[kTiles][kDim / 16][4];
  float max[kTiles][2], sum[kTiles][2];

  __device__ void clear() {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out[n][d][i] = 0.0f;
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        max[n][i] = -INFINITY;
        sum[n][i] = 0.0f;
      }
    }
  }
};

// Over the lanes that have the same heads.
template <typename Combine>
__device__ float over_positions(float value, Combine&& combine) {
#pragma unroll
  for (int step = 4; step < 32; step *= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, step));
  }
  return value;
}

// Merges the shares (at most 32) of one row: each has sums [dim], its maximum and its total. A warp
// does a row: its lanes take a share each for the weights, then dimensions. The result is a share
// again, or the output where it is the final one.
template <int kDim, typename Load>
__device__ void merge_rows(const AttentionArgs& a, Load&& load, int num_shares, int head,
                           float* out, bool is_final, __nv_bfloat16* out16 = nullptr) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool has_sink = is_final && a.sinks != nullptr;
  const float share_max = lane < num_shares ? load(lane, kDim) : -INFINITY;
  const float share_total = lane < num_shares ? load(lane, kDim + 1) : 0.0f;
  float sums[kDim / 32] = {};
  float max = warp_max(share_max);
  if (has_sink) max = fmaxf(max, a.sinks[head]);
  const float weight = share_total > 0.0f ? __expf(share_max - max) : 0.0f;
  float total = warp_sum(weight * share_total);
  if (has_sink) total += __expf(a.sinks[head] - max);
#pragma unroll 4
  for (int s = 0; s < num_shares; ++s) {
    const float w = __shfl_sync(0xffffffffu, weight, s);
#pragma unroll
    for (int i = 0; i < kDim / 32; ++i) sums[i] += w * load(s, lane + 32 * i);
  }
#pragma unroll
  for (int i = 0; i < kDim / 32; ++i) {
    if (is_final && out16 != nullptr) {
      const int64_t column = static_cast<int64_t>(head) * kDim + lane + 32 * i;
      out16[a.out16_permuted ? permuted_place(column) : column] =
          __float2bfloat16_rn(sums[i] / total);
    } else {
      __stcg(out + lane + 32 * i, is_final ? sums[i] / total : sums[i]);
    }
  }
  if (!is_final && lane == 0) {
    __stcg(out + kDim, max);
    __stcg(out + kDim + 1, total);
  }
}

__device__ inline int first_position(const AttentionArgs& a, int last) {
  return a.window > 0 ? max(0, last - static_cast<int>(a.window) + 1) : 0;
}

// A sequence and where its pages stand in the line of all.
struct Place {
  int sequence, begin, end;

  // `ends`: of each sequence's pages.
  __device__ Place(const int* ends, int num_sequences, int at) {
    int low = 0, high = num_sequences - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (ends[middle] > at) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    sequence = low;
    begin = low > 0 ? ends[low - 1] : 0;
    end = ends[low];
  }
  __device__ void next(const int* ends, int num_sequences) {
    begin = end;
    if (++sequence < num_sequences) end = ends[sequence];
  }
};

// How the line is cut: into shares of so many pages, from its begin on; or, where `each` is not 0,
// from each sequence's begin on, which then has `each` parts to itself.
struct LineCut {
  int share, each;
};

// Fills `ends`. Every warp counts for itself.
__device__ inline LineCut cut_line(const AttentionArgs& a, int* ends, int warp, int lane) {
  constexpr int kEach = kSequences / 32;
  const int parts = static_cast<int>(gridDim.y);
  const auto share_of = [](int pages, int num_parts, int longest) {
    const int least = max((longest + kSharesMax - 3) / (kSharesMax - 2), kPagesMin);
    return max((pages + num_parts - 1) / num_parts, least);
  };
  if (a.num_sequences == 1) {
    const int last = a.positions[0],
              total = last / kPageTokens + 1 - first_position(a, last) / kPageTokens;
    if (threadIdx.x == 0) ends[0] = total;
    __syncthreads();
    return {share_of(total, parts, total), parts};
  }
  int pages[kEach], sum = 0, longest = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int s = kEach * lane + i;
    pages[i] = 0;
    if (s < a.num_sequences) {
      const int last = a.positions[s];
      pages[i] = last / kPageTokens + 1 - first_position(a, last) / kPageTokens;
    }
    longest = max(longest, pages[i]);
    sum += pages[i];
  }
  int end = sum;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, end, step);
    if (lane >= step) end += other;
  }
  longest = __reduce_max_sync(0xffffffffu, longest);
  const int total = __shfl_sync(0xffffffffu, end, 31);
  if (warp == 0) {
    end -= sum;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      end += pages[i];
      if (kEach * lane + i < a.num_sequences) ends[kEach * lane + i] = end;
    }
  }
  __syncthreads();
  // Few sequences of about one length: no part has the end of one and the begin of another, each
  // with its wait for queries and for the others that share it.
  const int each = parts / a.num_sequences;
  if (each >= 2 && longest * a.num_sequences <= total + total / 4) {
    return {share_of(longest, each, longest), each};
  }
  return {share_of(total, parts, longest), 0};
}

}  // namespace realm::cuda
