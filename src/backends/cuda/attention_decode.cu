// Attention of one token per sequence over an F16 cache: decode. A block takes one KV head of one
// sequence and a share of its pages; each of its four warps streams pages of its own through a ring
// in shared memory and multiplies them by mma.m16n8k16, whose 16 rows are the query heads that
// share the KV head. The shares' results are merged in a fixed order by the last block that
// finishes. Bytes moved: every key and value once. Limited by memory bandwidth.
#include <cuda_fp16.h>

#include <algorithm>

#include "backends/cuda/attention.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {
namespace {

constexpr int kWarps = 4, kRows = 16, kPage = kPageTokens;

struct Partials {
  float* values;  // [sequences, kv_heads, splits, heads_per_kv, v_dim + 2]: sums, maximum, total
  int* counters;  // [sequences, kv_heads], zero
  int splits;
};

template <int kDim>
struct Ring {
  static constexpr int kStages = kDim <= 64 ? 4 : kDim <= 128 ? 3 : 1;
  static constexpr int kRowBytes = kDim * 2;
  static constexpr int kPageBytes = kPage * kRowBytes;
  static constexpr int kStageBytes = 2 * kPageBytes;
  static constexpr int kWarpBytes = kStages * kStageBytes;
  static constexpr int kSharedBytes = kWarps * kWarpBytes;
  // Pieces of 16 bytes are stored at place (piece ^ row % 8), so that eight rows of one column lie
  // in different banks.
  static __device__ uint32_t at(int row, int piece) {
    return static_cast<uint32_t>(row * kRowBytes + (piece ^ (row % 8)) * 16);
  }
};

template <int kDim>
__device__ void fetch_page(const AttentionArgs& a, int64_t page, int kv_head, uint32_t stage,
                           int lane) {
  using R = Ring<kDim>;
  const std::byte* k = a.k_cache + page * a.k_page_stride + kv_head * a.k_head_stride;
  const std::byte* v = a.v_cache + page * a.v_page_stride + kv_head * a.v_head_stride;
#pragma unroll
  for (int i = 0; i < R::kPageBytes / 512; ++i) {
    const int index = i * 32 + lane, row = index / (kDim / 8), piece = index % (kDim / 8);
    copy_16(stage + R::at(row, piece), k + index * 16);
    copy_16(stage + R::kPageBytes + R::at(row, piece), v + index * 16);
  }
}

// State of a warp's 16 rows: each thread has those of rows g and g + 8.
template <int kDim>
struct State {
  float out[kDim / 8][4];
  float max[2], sum[2];
};

// Scores of the 32 positions of a page: [4 groups of 8 positions][4 values of a thread].
template <int kDim>
__device__ void page_scores(const uint32_t (&q)[kDim / 16][4], uint32_t k_page, int lane,
                            float (&scores)[4][4]) {
  using R = Ring<kDim>;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = 0.0f;
#pragma unroll
    for (int d = 0; d < kDim / 32; ++d) {
      uint32_t b[4];
      load_matrices(b, k_page + R::at(8 * n + lane % 8, 4 * d + lane / 8));
      mma_f16(scores[n], q[2 * d], b[0], b[1]);
      mma_f16(scores[n], q[2 * d + 1], b[2], b[3]);
    }
  }
}

// Folds a page into the state. Positions outside [first, last] count nothing.
template <int kDim>
__device__ void fold_page(const AttentionArgs& a, State<kDim>& state, float (&scores)[4][4],
                          int begin, int first, int last, uint32_t v_page, int lane) {
  using R = Ring<kDim>;
  float page_max[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int position = begin + 8 * n + 2 * (lane % 4) + i % 2;
      const bool inside = position >= first && position <= last;
      const float score = cap_score(scores[n][i] * a.scale, a.soft_cap);
      scores[n][i] = inside ? score : -INFINITY;
      page_max[i / 2] = fmaxf(page_max[i / 2], scores[n][i]);
    }
  }
  float correction[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    page_max[r] = fmaxf(page_max[r], __shfl_xor_sync(0xffffffffu, page_max[r], 1));
    page_max[r] = fmaxf(page_max[r], __shfl_xor_sync(0xffffffffu, page_max[r], 2));
    const float new_max = fmaxf(state.max[r], page_max[r]);
    correction[r] = __expf(state.max[r] - new_max);
    state.max[r] = new_max;
    state.sum[r] *= correction[r];
  }
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scores[n][i] = __expf(scores[n][i] - state.max[i / 2]);
      state.sum[i / 2] += scores[n][i];
    }
  }
#pragma unroll
  for (int d = 0; d < kDim / 8; ++d) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state.out[d][i] *= correction[i / 2];
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint32_t p[4] = {pack_half(scores[2 * half][0], scores[2 * half][1]),
                           pack_half(scores[2 * half][2], scores[2 * half][3]),
                           pack_half(scores[2 * half + 1][0], scores[2 * half + 1][1]),
                           pack_half(scores[2 * half + 1][2], scores[2 * half + 1][3])};
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      uint32_t b[4];
      load_matrices_transposed(b, v_page + R::at(16 * half + lane % 16, 2 * d + lane / 16));
      mma_f16(state.out[2 * d], p, b[0], b[1]);
      mma_f16(state.out[2 * d + 1], p, b[2], b[3]);
    }
  }
}

// The query heads' rows as operands; rows past the group are zero.
template <int kDim>
__device__ void load_queries(const AttentionArgs& a, int64_t token, int kv_head, int lane,
                             uint32_t (&q)[kDim / 16][4]) {
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i % 2), column = 16 * d + 2 * (lane % 4) + 8 * (i / 2);
      float2 pair{0.0f, 0.0f};
      if (row < a.heads_per_kv) {
        pair = *reinterpret_cast<const float2*>(a.q + token * a.q_token_stride +
                                                (kv_head * a.heads_per_kv + row) * a.q_head_stride +
                                                column * 4);
      }
      q[d][i] = pack_half(pair.x, pair.y);
    }
  }
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

template <int kDim>
__global__ void __launch_bounds__(32 * kWarps)
    decode(const AttentionArgs a, const Partials partials) {
  using R = Ring<kDim>;
  extern __shared__ std::byte shared[];
  __shared__ bool is_last;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int kv_head = static_cast<int>(blockIdx.x), sequence = static_cast<int>(blockIdx.y);
  const int64_t token = sequence;  // one token a sequence
  may_start_next();
  wait_for_inputs();
  const int last = a.positions[token];
  const int first = a.window > 0 ? max(0, last - static_cast<int>(a.window) + 1) : 0;
  const int32_t* pages = a.page_table + sequence * a.max_pages;
  const int num_warps = kWarps * partials.splits;
  const int page_begin = first / kPage + static_cast<int>(blockIdx.z) * kWarps + warp;
  const int page_end = last / kPage + 1;
  const uint32_t ring =
      static_cast<uint32_t>(__cvta_generic_to_shared(shared)) + warp * R::kWarpBytes;

  uint32_t q[kDim / 16][4];
  load_queries<kDim>(a, token, kv_head, lane, q);
  State<kDim> state;
#pragma unroll
  for (int d = 0; d < kDim / 8; ++d) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state.out[d][i] = 0.0f;
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    state.max[r] = -INFINITY;
    state.sum[r] = 0.0f;
  }
  int next = page_begin;
#pragma unroll
  for (int s = 0; s < R::kStages; ++s, next += num_warps) {
    if (next < page_end) {
      fetch_page<kDim>(a, pages[next], kv_head, ring + s * R::kStageBytes, lane);
    }
    copies_commit();
  }
  int stage = 0;
  for (int page = page_begin; page < page_end; page += num_warps) {
    copies_wait<R::kStages - 1>();
    __syncwarp();
    const uint32_t at = ring + stage * R::kStageBytes;
    float scores[4][4];
    page_scores<kDim>(q, at, lane, scores);
    fold_page<kDim>(a, state, scores, page * kPage, first, last, at + R::kPageBytes, lane);
    __syncwarp();
    if (next < page_end) fetch_page<kDim>(a, pages[next], kv_head, at, lane);
    copies_commit();
    next += num_warps;
    stage = stage + 1 == R::kStages ? 0 : stage + 1;
  }
  copies_wait<0>();
  __syncthreads();

  // The warps' rows through shared memory: [warps, rows, dim + 2].
  constexpr int kShare = kDim + 2;
  auto* rows = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = state.sum[r];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    const int row = lane / 4 + 8 * r;
    if (row >= a.heads_per_kv) continue;
    float* to = rows + (warp * a.heads_per_kv + row) * kShare;
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
      to[8 * d + 2 * (lane % 4)] = state.out[d][2 * r];
      to[8 * d + 2 * (lane % 4) + 1] = state.out[d][2 * r + 1];
    }
    if (lane % 4 == 0) {
      to[kDim] = state.max[r];
      to[kDim + 1] = sum;
    }
  }
  __syncthreads();
  const bool alone = partials.splits == 1;
  const auto out16_of = [&] {
    return a.out16 == nullptr ? nullptr : a.out16 + token * a.out16_stride;
  };
  const int64_t group = static_cast<int64_t>(sequence) * gridDim.x + kv_head;
  float* shares = partials.values + group * partials.splits * a.heads_per_kv * kShare;
  float* mine = shares + static_cast<int64_t>(blockIdx.z) * a.heads_per_kv * kShare;
  for (int row = warp; row < a.heads_per_kv; row += kWarps) {
    const int head = kv_head * a.heads_per_kv + row;
    float* out = alone ? a.out + (token * a.heads + head) * kDim : mine + row * kShare;
    const auto load = [&](int w, int i) { return rows[(w * a.heads_per_kv + row) * kShare + i]; };
    merge_rows<kDim>(a, load, kWarps, head, out, alone, out16_of());
  }
  if (alone) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(partials.counters + group, 1) == partials.splits - 1;
    if (is_last) partials.counters[group] = 0;
    __threadfence();
  }
  __syncthreads();
  if (!is_last) return;
  for (int row = warp; row < a.heads_per_kv; row += kWarps) {
    const int head = kv_head * a.heads_per_kv + row;
    const auto load = [&](int s, int i) {
      return __ldcg(shares + (static_cast<int64_t>(s) * a.heads_per_kv + row) * kShare + i);
    };
    merge_rows<kDim>(a, load, partials.splits, head, a.out + (token * a.heads + head) * kDim, true,
                     out16_of());
  }
}

template <int kDim>
Status launch(Context& context, const AttentionArgs& args) {
  using R = Ring<kDim>;
  static const cudaError_t configured = cudaFuncSetAttribute(
      decode<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, R::kSharedBytes);
  TRY(check(configured, "attention: shared memory"));
  const int groups = args.num_sequences * args.kv_heads;
  const int64_t longest = args.max_pages;  // of any sequence
  Partials partials{.values = nullptr, .counters = nullptr, .splits = 1};
  if (groups <= Context::kCounters) {
    const auto useful = static_cast<int>((longest + kWarps - 1) / kWarps);
    partials.splits = std::clamp(context.num_sms / groups, 1, std::clamp(useful, 1, 32));
  }
  if (partials.splits > 1) {
    const size_t floats = static_cast<size_t>(groups) * static_cast<size_t>(partials.splits) *
                          static_cast<size_t>(args.heads_per_kv) * (kDim + 2);
    partials.values = reinterpret_cast<float*>(TRY(context.partials.get(floats * sizeof(float))));
    partials.counters = reinterpret_cast<int*>(context.counters);
  }
  const dim3 grid(static_cast<unsigned>(args.kv_heads), static_cast<unsigned>(args.num_sequences),
                  static_cast<unsigned>(partials.splits));
  return cuda::launch("attention", decode<kDim>, grid, 32 * kWarps, R::kSharedBytes, context.stream,
                      args, partials);
}

}  // namespace

bool can_attend_decode(const AttentionArgs& a) {
  return a.num_tokens == a.num_sequences && a.cache_type == DType::kF16 && a.slopes == nullptr &&
         a.oldest == nullptr && a.k_dim == a.v_dim && a.k_cache != a.v_cache &&
         (a.k_dim == 64 || a.k_dim == 128 || a.k_dim == 256) && a.heads_per_kv <= kRows &&
         a.q_token_stride % 8 == 0 && a.q_head_stride % 8 == 0;
}

Status attend_decode(Context& context, const AttentionArgs& args) {
  if (args.k_dim == 64) return launch<64>(context, args);
  if (args.k_dim == 128) return launch<128>(context, args);
  return launch<256>(context, args);
}

}  // namespace realm::cuda
