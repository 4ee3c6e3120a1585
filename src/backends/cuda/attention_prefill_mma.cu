// Attention of runs of tokens over an F16 cache where there is no wgmma: prefill. A block takes 128
// rows, each a token and one of the query heads that share a KV head, of which each of eight warps
// has 16; 64 positions at a time come into one of two stages of shared memory while the other is
// multiplied. Scores, their softmax and the sums stay in registers (Dao 2023).
#include <cuda_fp16.h>

#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_rows.cuh"
#include "backends/cuda/features.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"

namespace realm::cuda {
namespace {

constexpr int kRows = 128, kPositions = 64, kThreads = 256;

template <int kDim>
struct Stage {
  static constexpr int kRowBytes = 2 * kDim;
  static constexpr int kTileBytes = kPositions * kRowBytes;  // of keys, then of values
  static constexpr int kBytes = 2 * kTileBytes, kSharedBytes = 2 * kBytes;
  // Eight rows' pieces of one column lie in different banks.
  static __device__ uint32_t at(int row, int piece) {
    return static_cast<uint32_t>(row * kRowBytes + (piece ^ row % 8) * 16);
  }
};

template <int kDim>
__device__ void copy_tile(const AttentionArgs& a, const int32_t* pages, int last_page, int kv_head,
                          int tile, uint32_t to) {
  using S = Stage<kDim>;
  constexpr int kPieces = S::kRowBytes / 16;
#pragma unroll
  for (int i = 0; i < kPositions * kPieces / kThreads; ++i) {
    const int index = i * kThreads + static_cast<int>(threadIdx.x);
    const int row = index / kPieces, piece = index % kPieces;
    // Pages past the last one are masked; any page will do for them.
    const int64_t page = pages[min((tile * kPositions + row) / kPageTokens, last_page)];
    const int in_page = row % kPageTokens;
    const uint32_t place = to + S::at(row, piece);
    copy_16(place, a.k_cache + page * a.k_page_stride + kv_head * a.k_head_stride +
                       in_page * a.k_token_stride + piece * 16);
    copy_16(place + S::kTileBytes, a.v_cache + page * a.v_page_stride + kv_head * a.v_head_stride +
                                       in_page * a.v_token_stride + piece * 16);
  }
  commit_copies();
}

template <int kDim>
__device__ void load_queries(const AttentionArgs& a, const Work& work, int kv_head, int row0,
                             int lane, uint32_t (&q)[kDim / 16][4], RowState& state) {
  const int group = a.heads_per_kv;
  const std::byte* from[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = row0 + lane / 4 + 8 * r, token = row / group;
    const bool there = token < work.tokens;
    state.position[r] = there ? a.positions[work.token + token] : -1;
    state.max[r] = kLowest;
    state.sum[r] = 0.0f;
    from[r] = there ? a.q + (work.token + token) * a.q_token_stride +
                          (kv_head * group + row % group) * a.q_head_stride
                    : nullptr;
  }
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = 16 * d + 2 * (lane % 4) + 8 * (i / 2);
      float2 pair{0.0f, 0.0f};
      if (from[i % 2] != nullptr) {
        pair = *reinterpret_cast<const float2*>(from[i % 2] + column * 4);
      }
      q[d][i] = pack_half(pair.x, pair.y);
    }
  }
}

template <int kDim>
__device__ void multiply_keys(const uint32_t (&q)[kDim / 16][4], uint32_t k, int lane,
                              float (&scores)[kPositions / 2]) {
  using S = Stage<kDim>;
#pragma unroll
  for (int j = 0; j < kPositions / 8; j += 2) {
    float sums[2][4] = {};
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      uint32_t b[4];
      load_matrices(b, k + S::at(8 * (j + lane / 16) + lane % 8, 2 * d + lane / 8 % 2));
      mma_f16(sums[0], q[d], b[0], b[1]);
      mma_f16(sums[1], q[d], b[2], b[3]);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) scores[4 * j + i] = sums[i / 4][i % 4];
  }
}

template <int kDim>
__device__ void add_values(const float (&scores)[kPositions / 2], uint32_t v, int lane,
                           float (&out)[kDim / 8][4]) {
  using S = Stage<kDim>;
#pragma unroll
  for (int i = 0; i < kPositions / 16; ++i) {
    uint32_t p[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      p[j] = pack_half(scores[8 * i + 2 * j], scores[8 * i + 2 * j + 1]);
    }
#pragma unroll
    for (int d = 0; d < kDim / 8; d += 2) {
      uint32_t b[4];
      load_matrices_transposed(b, v + S::at(16 * i + lane % 16, d + lane / 16));
      mma_f16(out[d], p, b[0], b[1]);
      mma_f16(out[d + 1], p, b[2], b[3]);
    }
  }
}

template <int kDim, bool kCapped>
__device__ __forceinline__ void attend_rows(const AttentionArgs& a) {
  using S = Stage<kDim>;
  extern __shared__ uint4 attention_stages[];
  __shared__ Work shared_work;
  const uint32_t stages = shared_address(attention_stages);
  may_start_next();
  wait_for_inputs();
  if (threadIdx.x == 0) shared_work = find_work(a, kRows / a.heads_per_kv, kPositions);
  __syncthreads();
  const Work work = shared_work;
  if (work.sequence < 0) return;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int kv_head = static_cast<int>(blockIdx.y), row0 = 16 * warp;
  const int32_t* pages = a.page_table + work.sequence * a.max_pages;
  const int last_position = a.positions[work.token + work.tokens - 1];
  const auto copy = [&](int tile) {
    copy_tile<kDim>(a, pages, last_position / kPageTokens, kv_head, tile,
                    stages + tile % 2 * S::kBytes);
  };
  copy(work.tile_begin);
  uint32_t q[kDim / 16][4];
  RowState state;
  load_queries<kDim>(a, work, kv_head, row0, lane, q, state);
  const int warp_token = row0 / a.heads_per_kv;
  const int first_position = warp_token < work.tokens ? a.positions[work.token + warp_token] : -1;
  float out[kDim / 8][4] = {};
  for (int tile = work.tile_begin; tile < work.tile_end; ++tile) {
    wait_for_copies<0>();
    __syncthreads();  // the tile is there, and everyone is done with the one before
    if (tile + 1 < work.tile_end) copy(tile + 1);
    const uint32_t k = stages + tile % 2 * S::kBytes;
    float scores[kPositions / 2], shrink[2];
    multiply_keys<kDim>(q, k, lane, scores);
    const int begin = tile * kPositions;
    const bool masked = begin + kPositions - 1 > first_position ||
                        (a.window > 0 && begin <= last_position - static_cast<int>(a.window));
    if (masked) {
      soften<kPositions, true, kCapped>(a, state, scores, begin, lane, shrink);
    } else {
      soften<kPositions, false, kCapped>(a, state, scores, begin, lane, shrink);
    }
#pragma unroll
    for (int d = 0; d < kDim / 8; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[d][i] *= shrink[i / 2];
    }
    add_values<kDim>(scores, k + S::kTileBytes, lane, out);
  }
  write_rows<kDim>(a, work, kv_head, row0, lane, state,
                   *reinterpret_cast<const float(*)[kDim / 2]>(out));
}

template <int kDim, bool kCapped>
__global__ void __launch_bounds__(kThreads, 1) prefill_mma(const AttentionArgs a) {
  if constexpr (REALM_MMA) attend_rows<kDim, kCapped>(a);
}

template <int kDim, bool kCapped>
Status launch(Context& context, const AttentionArgs& a) {
  using S = Stage<kDim>;
  const auto kernel = prefill_mma<kDim, kCapped>;
  static const cudaError_t configured =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes);
  TRY(check(configured, "attention: shared memory"));
  const int tokens_of_tile = kRows / a.heads_per_kv;
  // As many tiles as there can be, whatever the sequences' shares.
  const int64_t tiles = a.num_tokens / tokens_of_tile + a.num_sequences;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(a.kv_heads));
  return cuda::launch("attention", kernel, grid, kThreads, S::kSharedBytes, context.stream, a);
}

}  // namespace

Status attend_prefill_mma(Context& context, const AttentionArgs& a) {
  if (a.soft_cap > 0.0f) {
    return a.k_dim == 64 ? launch<64, true>(context, a) : launch<128, true>(context, a);
  }
  return a.k_dim == 64 ? launch<64, false>(context, a) : launch<128, false>(context, a);
}

}  // namespace realm::cuda
