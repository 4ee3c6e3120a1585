// Decode attention over pages that sequences have in common (Attention::shared): the kernels of
// prefill run with a group's sequences, one token each, in the place of a run of tokens, so that a
// page is read once for 128 rows of queries. Tiles of a group's rows stand in one line, each as
// long as its pages, which for each KV head is cut evenly among blocks that stay. What a block
// finds of a tile of rows is a share of each row, for the decode kernels to merge with those of the
// sequence's own pages. Limited by memory bandwidth up to about a tile of rows.
#pragma once

#include <algorithm>

#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_line.cuh"
#include "backends/cuda/attention_rows.cuh"

namespace realm::cuda {

inline constexpr int kSharedPositions = 128;
// Shares of a row at most: a warp merges 32 with those of the sequence's own pages.
inline constexpr int kSharedShares = kSharesMax / 2;

// Whether there can be shared pages in such an op, and kernels that read them once.
inline constexpr int kSharedDimMax = 128;
inline bool can_share_pages(const Context& context, const AttentionArgs& a) {
  const int64_t head_bytes = kPageTokens * a.k_token_stride;
  return context.has_wgmma && a.num_sequences > 1 && a.window == 0 &&
         (a.k_dim == 64 || a.k_dim == kSharedDimMax) && a.k_head_stride == head_bytes &&
         a.v_head_stride == head_bytes && a.k_page_stride == a.kv_heads * head_bytes &&
         a.v_page_stride == a.k_page_stride;
}

// How a decode step is launched, up to kSequences sequences at a time, and the memory for shares.
struct DecodeLaunch {
  int parts, shared_parts;  // blocks of a KV head
  size_t bytes;

  DecodeLaunch(const Context& context, const AttentionArgs& a) {
    // No more blocks than can have work.
    const int64_t useful = int64_t{a.num_sequences} * ((a.max_pages + kPagesMin - 1) / kPagesMin);
    shared_parts = std::max(context.num_sms / a.kv_heads, 1);
    parts = static_cast<int>(std::min<int64_t>(shared_parts, useful));
    own_floats_ = size_t{2} * static_cast<size_t>(parts * a.heads * (a.v_dim + 2));
    bytes = own_floats_ * sizeof(float);
    const int count = std::min(a.num_sequences, kSequences);
    rows_ = count * a.heads_per_kv + shared_parts * kSharedRows;
    shared_floats_ = static_cast<size_t>(a.kv_heads) * static_cast<size_t>(rows_ * (a.v_dim + 2));
    // Also where nothing is shared now: a later step may share, and memory is taken beforehand.
    if (can_share_pages(context, a)) {
      bytes += shared_floats_ * sizeof(float) + static_cast<size_t>(2 * count) * sizeof(int);
    }
  }
  SharedPartials shared_partials(std::byte* memory) const {
    float* const values = reinterpret_cast<float*>(memory) + own_floats_;
    return {
        .values = values, .first = reinterpret_cast<int*>(values + shared_floats_), .rows = rows_};
  }

 private:
  size_t own_floats_, shared_floats_;
  int rows_;
};

// Of sequences [first, first + count) of the batch.
inline AttentionArgs some_sequences(const AttentionArgs& args, int first, int count) {
  AttentionArgs some = args;
  some.num_sequences = count;
  some.num_tokens = count;
  some.first_sequence = first;
  some.positions += first;
  some.page_table += first * args.max_pages;
  some.q += first * args.q_token_stride;
  some.out += int64_t{first} * args.heads * args.v_dim;
  if (some.out16 != nullptr) some.out16 += first * args.out16_stride;
  if (some.shared != nullptr) some.shared += int64_t{3} * first;
  return some;
}

// Over an F16 cache (attention_prefill.cu); `a` has kSequences sequences at most.
Status attend_shared(Context& context, const AttentionArgs& a, const SharedPartials& partials,
                     int parts);
// Over the others (attention_prefill_typed.cuh).
template <CacheType kType>
Status attend_shared_of(Context& context, const AttentionArgs& a, const SharedPartials& partials,
                        int parts);
extern template Status attend_shared_of<CacheType::kBF16>(Context&, const AttentionArgs&,
                                                          const SharedPartials&, int);
extern template Status attend_shared_of<CacheType::kQ8_0>(Context&, const AttentionArgs&,
                                                          const SharedPartials&, int);
extern template Status attend_shared_of<CacheType::kE4M3>(Context&, const AttentionArgs&,
                                                          const SharedPartials&, int);

// The sequences of a group that are in this launch.
struct SharedGroup {
  int first, end, pages;

  __device__ SharedGroup(const AttentionArgs& a, int sequence)
      : first(max(a.shared[3 * sequence] - a.first_sequence, 0)),
        end(min(a.shared[3 * sequence + 1] - a.first_sequence, a.num_sequences)),
        pages(a.shared[3 * sequence + 2]) {}
};

// A block's part of the line. All threads construct it, which fills `ends`.
struct SharedPart {
  const int* ends;
  int begin, end, share;

  __device__ SharedPart(const AttentionArgs& a, int* ends_out, int warp, int lane)
      : ends(ends_out) {
    const int tokens_of_tile = kSharedRows / a.heads_per_kv;
    const auto tiles_of = [&](int s) {
      const SharedGroup group(a, s);
      if (group.pages == 0 || (s - group.first) % tokens_of_tile != 0) return 0;
      return (group.pages * kPageTokens + kSharedPositions - 1) / kSharedPositions;
    };
    const auto [total, longest] = add_up_line(a.num_sequences, ends_out, warp, lane, tiles_of);
    const int parts = static_cast<int>(gridDim.y), part = static_cast<int>(blockIdx.y);
    share = max((total + parts - 1) / parts, (longest + kSharedShares - 3) / (kSharedShares - 2));
    begin = part * share;
    end = min(begin + share, total);
  }

  // Calls f(work) for each tile of rows of which there is something in it.
  template <typename Do>
  __device__ void for_each(const AttentionArgs& a, Do&& f) const {
    if (begin >= end) return;
    Place place(ends, a.num_sequences, begin);
    for (; place.begin < end; place.next(ends, a.num_sequences)) {
      if (place.end == place.begin) continue;
      const SharedGroup group(a, place.sequence);
      f(Work{.sequence = place.sequence,
             .token = place.sequence,
             .tokens = min(kSharedRows / a.heads_per_kv, group.end - place.sequence),
             .tile_begin = max(begin, place.begin) - place.begin,
             .tile_end = min(end, place.end) - place.begin,
             .last = group.pages * kPageTokens - 1,
             .first_part = place.begin / share,
             .num_parts = (place.end - 1) / share - place.begin / share + 1});
    }
  }
};

// A decode kernel that starts beside these, where there is room, finds what was written before
// them, and waits for them only where it needs their shares.
template <bool kShared>
__device__ inline void start_block() {
  if constexpr (!kShared) may_start_next();
  wait_for_inputs();
  if constexpr (kShared) may_start_next();
}

// Calls run(kv_head, for_each_work), in all threads, where this block has any work; of that,
// for_each_work(f) calls f(work) for each piece.
template <bool kShared, typename Run>
__device__ __forceinline__ void for_block(const AttentionArgs& a, int warp, int lane, Run&& run) {
  if constexpr (kShared) {
    __shared__ int ends[kSequences];
    const SharedPart part(a, ends, warp, lane);
    run(static_cast<int>(blockIdx.x), [&](auto&& f) { part.for_each(a, f); });
  } else {
    __shared__ Work shared_work;
    if (threadIdx.x == 0) {
      shared_work = find_work(a, kSharedRows / a.heads_per_kv, kSharedPositions);
    }
    __syncthreads();
    const Work work = shared_work;
    if (work.sequence >= 0) run(static_cast<int>(blockIdx.y), [&](auto&& f) { f(work); });
  }
}

// A thread's two rows of a share: sums, maximum, total.
template <int kDim>
__device__ void write_share(const AttentionArgs& a, const Work& work, const SharedPartials& to,
                            int kv_head, int row0, int lane, const RowState& state,
                            const float (&out)[kDim / 2]) {
  const int part = static_cast<int>(blockIdx.y);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = state.sum[r];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    const int row = row0 + lane / 4 + 8 * r, token = row / a.heads_per_kv;
    if (token >= work.tokens) continue;
    float* const values = to.row<kDim>(a, kv_head, work.token + token, row % a.heads_per_kv, part);
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      *reinterpret_cast<float2*>(values + 8 * d + 2 * (lane % 4)) =
          make_float2(out[4 * d + 2 * r], out[4 * d + 2 * r + 1]);
    }
    if (lane % 4 != 0) continue;
    *reinterpret_cast<float2*>(values + kDim) =
        make_float2(state.max[r] * (a.soft_cap > 0.0f ? 1.0f : a.scale), sum);
    if (kv_head == 0 && row % a.heads_per_kv == 0 && part == work.first_part) {
      to.first[2 * (work.token + token)] = part;
      to.first[2 * (work.token + token) + 1] = work.num_parts;
    }
  }
}

// What a warp has of its rows goes out as they are, or as a share of them.
template <int kDim, bool kShared>
__device__ void finish_rows(const AttentionArgs& a, const Work& work, const SharedPartials& shares,
                            int kv_head, int row0, int lane, const RowState& state,
                            const float (&out)[kDim / 2]) {
  if constexpr (kShared) {
    write_share<kDim>(a, work, shares, kv_head, row0, lane, state, out);
  } else {
    write_rows<kDim>(a, work, kv_head, row0, lane, state, out);
  }
}

}  // namespace realm::cuda
