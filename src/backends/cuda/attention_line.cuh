// What the kernels of attention of one token a sequence share: the pages of all sequences stand in
// one line, which is cut into parts for the blocks; shares of a sequence are merged in a fixed
// order. Pages that sequences have in common (attention_shared.cuh) are not in the line.
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

// Shares of the pages that sequences have in common, which attention_shared.cuh's kernels leave. A
// row is a query head of a sequence; its shares are kSharedRows rows apart.
inline constexpr int kSharedRows = 128;
struct SharedPartials {
  float* values = nullptr;  // [kv_heads, rows, v_dim + 2]: sums, maximum, total
  int* first = nullptr;     // [sequences, 2]: the part that has its first share, how many shares
  int rows = 0;

  // Of sequence, head of those that share the KV head, and share: sums, maximum, total.
  template <int kDim>
  __device__ float* row(const AttentionArgs& a, int kv_head, int sequence, int head,
                        int part) const {
    const int row = sequence * a.heads_per_kv + head + part * kSharedRows;
    return values + (static_cast<int64_t>(kv_head) * rows + row) * (kDim + 2);
  }
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

// Of one row, shares of pages in common. All of it is asked for before any is needed: there are few
// warps to wait for memory.
template <int kDim, bool kShared>
struct GivenRow {
  static constexpr int kMost = kShared ? kSharesMax / 2 : 0;
  const float* first = nullptr;
  int count = 0;

  __device__ float load(int share, int i) const {
    return __ldcg(first + share * kSharedRows * (kDim + 2) + i);
  }
};

// Merges the shares (at most 32, with those given) of one row: each has sums [dim], its maximum and
// its total. A warp does a row: its lanes take a share each for the weights, then dimensions. The
// result is a share again, or the output where it is the final one.
template <int kDim, bool kShared, typename Load>
__device__ void merge_rows(const AttentionArgs& a, Load&& load, int num_shares,
                           const GivenRow<kDim, kShared>& given, int head, float* out,
                           bool is_final, __nv_bfloat16* out16 = nullptr) {
  using Given = GivenRow<kDim, kShared>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float given_sums[Given::kMost + 1][kDim / 32];
  if constexpr (kShared) {
#pragma unroll
    for (int s = 0; s < Given::kMost; ++s) {
      if (s >= given.count) break;
#pragma unroll
      for (int i = 0; i < kDim / 32; ++i) given_sums[s][i] = given.load(s, lane + 32 * i);
    }
  }
  const bool has_sink = is_final && a.sinks != nullptr;
  float share_max = lane < num_shares ? load(lane, kDim) : -INFINITY;
  float share_total = lane < num_shares ? load(lane, kDim + 1) : 0.0f;
  if constexpr (kShared) {
    if (lane >= num_shares && lane - num_shares < given.count) {
      share_max = given.load(lane - num_shares, kDim);
      share_total = given.load(lane - num_shares, kDim + 1);
    }
  }
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
  if constexpr (kShared) {
#pragma unroll
    for (int s = 0; s < Given::kMost; ++s) {
      if (s >= given.count) break;
      const float w = __shfl_sync(0xffffffffu, weight, num_shares + s);
#pragma unroll
      for (int i = 0; i < kDim / 32; ++i) sums[i] += w * given_sums[s][i];
    }
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

struct LineLengths {
  int total, longest;
};

// Fills `ends` with where each sequence's stretch of the line ends. Every warp counts for itself.
template <typename Length>
__device__ inline LineLengths add_up_line(int num_sequences, int* ends, int warp, int lane,
                                          Length&& length_of) {
  constexpr int kEach = kSequences / 32;
  int lengths[kEach], sum = 0, longest = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int s = kEach * lane + i;
    lengths[i] = s < num_sequences ? length_of(s) : 0;
    longest = max(longest, lengths[i]);
    sum += lengths[i];
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
      end += lengths[i];
      if (kEach * lane + i < num_sequences) ends[kEach * lane + i] = end;
    }
  }
  __syncthreads();
  return {total, longest};
}

// The page that a sequence's stretch of the line begins with.
template <bool kShared>
__device__ inline int first_page(const AttentionArgs& a, int sequence) {
  if constexpr (kShared) return a.shared[3 * sequence + 2];
  return a.window > 0 ? first_position(a, a.positions[sequence]) / kPageTokens : 0;
}

// Fills `ends`. With kShared there is no window, and half of a sequence's shares may be of others'
// pages.
template <bool kShared>
__device__ inline LineCut cut_line(const AttentionArgs& a, int* ends, int warp, int lane) {
  constexpr int kMost = kShared ? kSharesMax / 2 : kSharesMax;
  constexpr int kLeast = kShared ? 2 * kPagesMin : kPagesMin;
  const int parts = static_cast<int>(gridDim.y);
  const auto share_of = [](int pages, int num_parts, int most) {
    const int least = max((most + kMost - 3) / (kMost - 2), kLeast);
    return max((pages + num_parts - 1) / num_parts, least);
  };
  const auto pages_of = [&](int s) {
    return a.positions[s] / kPageTokens + 1 - first_page<kShared>(a, s);
  };
  if (a.num_sequences == 1) {
    const int pages = pages_of(0);
    if (threadIdx.x == 0) ends[0] = pages;
    __syncthreads();
    return {share_of(pages, parts, pages), parts};
  }
  const auto [total, longest] = add_up_line(a.num_sequences, ends, warp, lane, pages_of);
  // Few sequences of about one length: no part has the end of one and the begin of another, each
  // with its wait for queries and for the others that share it.
  const int each = parts / a.num_sequences;
  if (each >= 2 && longest * a.num_sequences <= total + total / 4) {
    return {share_of(longest, each, longest), each};
  }
  return {share_of(total, parts, longest), 0};
}

// Where a decode kernel finds the shares of a sequence's pages in common.
template <bool kShared>
struct GivenShares {
  int sequence = -1, first = 0, count = 0;

  // Waits for the kernel that leaves them.
  __device__ void find(const AttentionArgs& a, const SharedPartials& partials, int of_sequence) {
    if constexpr (kShared) {
      if (sequence == of_sequence) return;
      sequence = of_sequence;
      count = 0;
      wait_for_inputs();
      if (a.shared[3 * sequence + 2] == 0) return;
      first = __ldcg(partials.first + 2 * sequence);
      count = __ldcg(partials.first + 2 * sequence + 1);
    }
  }
  template <int kDim>
  __device__ GivenRow<kDim, kShared> row(const AttentionArgs& a, const SharedPartials& partials,
                                         int kv_head, int head) const {
    if constexpr (!kShared) return {};
    if (count == 0) return {};
    return {partials.row<kDim>(a, kv_head, sequence, head, first), count};
  }
};

// After a block's pages of one sequence, of which its warps have left `rows` [warps, heads_per_kv,
// dim + 2] in shared memory: writes the output where the block has all of the sequence's own pages,
// else leaves its share, and where it is the last of those that have one, merges them.
template <int kDim, int kWarps, bool kShared>
__device__ __forceinline__ void finish_sequence(const AttentionArgs& a, const Partials& partials,
                                                const SharedPartials& shared_partials,
                                                GivenShares<kShared>& given, const Place& place,
                                                const LineCut& cut, int begin, int end, int kv_head,
                                                int warp, const float* rows) {
  constexpr int kShare = kDim + 2;
  __shared__ bool is_last;
  const int64_t token = place.sequence;  // one token a sequence
  const bool begins = place.begin >= begin, alone = begins && place.end <= end;
  __nv_bfloat16* const out16 = a.out16 == nullptr ? nullptr : a.out16 + token * a.out16_stride;
  const auto share_of = [&](int block, bool is_first) {
    return partials.values + (2 * (block * static_cast<int>(gridDim.x) + kv_head) + is_first) *
                                 a.heads_per_kv * kShare;
  };
  given.find(a, shared_partials, place.sequence);
  for (int row = warp; row < a.heads_per_kv; row += kWarps) {
    const int head = kv_head * a.heads_per_kv + row;
    float* out = alone ? a.out + (token * a.heads + head) * kDim
                       : share_of(static_cast<int>(blockIdx.y), begins) + row * kShare;
    const auto load = [&](int w, int i) { return rows[(w * a.heads_per_kv + row) * kShare + i]; };
    GivenRow<kDim, kShared> more;
    if (alone) more = given.template row<kDim>(a, shared_partials, kv_head, row);
    merge_rows<kDim, kShared>(a, load, kWarps, more, head, out, alone, out16);
  }
  if (alone) return;
  const int first_block = cut.each > 0 ? place.sequence * cut.each : place.begin / cut.share;
  const int shares = cut.each > 0 ? (place.end - place.begin + cut.share - 1) / cut.share
                                  : (place.end - 1) / cut.share - first_block + 1;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    int* const counter = partials.counters + place.sequence * a.kv_heads + kv_head;
    is_last = atomicAdd(counter, 1) == shares - 1;
    if (is_last) *counter = 0;
    __threadfence();
  }
  __syncthreads();
  if (!is_last) return;
  for (int row = warp; row < a.heads_per_kv; row += kWarps) {
    const int head = kv_head * a.heads_per_kv + row;
    const auto load = [&](int s, int i) {
      return __ldcg(share_of(first_block + s, s == 0) + row * kShare + i);
    };
    merge_rows<kDim, kShared>(a, load, shares,
                              given.template row<kDim>(a, shared_partials, kv_head, row), head,
                              a.out + (token * a.heads + head) * kDim, true, out16);
  }
}

}  // namespace realm::cuda
