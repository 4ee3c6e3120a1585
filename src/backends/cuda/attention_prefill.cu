// Attention of runs of tokens over an F16 cache: prefill. A block takes 128 rows, each a token and
// one of the query heads that share a KV head; two groups of four warps have 64 rows each, a fifth
// warp feeds them pages by the copy engine, 128 positions at a time, keys and values apart so that
// scores start before the values are there. Queries lie in shared memory; scores and sums stay in
// registers. A tile's scores are asked for before the values of the tile before are multiplied, so
// that their softmax runs beside that product, and beside the other group's (Dao et al. 2022; Shah
// et al. 2024). Limited by the matrix units, and by exponentials next to them.
#include <cuda_fp16.h>

#include "backends/cuda/async.cuh"
#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_rows.cuh"
#include "backends/cuda/features.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/tensor_map.cuh"
#include "backends/cuda/wgmma.cuh"

namespace realm::cuda {
namespace {

constexpr int kRows = 128, kPositions = 128, kPagesOfTile = kPositions / kPageTokens;
constexpr int kThreads = 384, kStages = 2;

template <int kDim>
struct Shape {
  static constexpr int kBoxes = kDim / 64;
  static constexpr int kBoxBytes = kPositions * 128;  // 64 columns
  static constexpr int kTileBytes = kBoxes * kBoxBytes;
  static constexpr int kStageBytes = 2 * kTileBytes;
  static constexpr int kQueryBoxBytes = kRows * 128;
  static constexpr int kQueries = kStages * kStageBytes;  // where they begin
  static constexpr int kBarriers = kQueries + kBoxes * kQueryBoxBytes;
  static constexpr int kSharedBytes = kBarriers + 1024 + 256;
};

struct Barriers {
  uint64_t full_k[kStages], full_v[kStages], empty_k[kStages], empty_v[kStages];
};

template <int kDim>
__device__ void feed(const AttentionArgs& a, const Work& work, int kv_head, std::byte* stages,
                     Barriers* barriers, const CUtensorMap* k_map, const CUtensorMap* v_map) {
  using S = Shape<kDim>;
  const int32_t* pages = a.page_table + work.sequence * a.max_pages;
  const int last_page = a.positions[work.token + work.tokens - 1] / kPageTokens;
  int stage = 0;
  uint32_t parity = 1;
  for (int tile = work.tile_begin; tile < work.tile_end; ++tile) {
    int rows[kPagesOfTile];
#pragma unroll
    for (int i = 0; i < kPagesOfTile; ++i) {
      // Pages past the last one are masked; any page will do for them.
      const int page = pages[min(tile * kPagesOfTile + i, last_page)];
      rows[i] = (page * a.kv_heads + kv_head) * kPageTokens;
    }
    std::byte* k = stages + stage * S::kStageBytes;
    const auto copy = [&](std::byte* to, const CUtensorMap* map, uint64_t* empty, uint64_t* full) {
      barrier_wait(empty, parity);
      barrier_expect(full, S::kTileBytes);
      for (int box = 0; box < S::kBoxes; ++box) {
        for (int i = 0; i < kPagesOfTile; ++i) {
          copy_box(to + box * S::kBoxBytes + i * kPageTokens * 128, map, 64 * box, rows[i], full);
        }
      }
    };
    copy(k, k_map, barriers->empty_k + stage, barriers->full_k + stage);
    copy(k + S::kTileBytes, v_map, barriers->empty_v + stage, barriers->full_v + stage);
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
}

// A group's 64 rows of queries to shared memory, swizzled as the copy engine does it.
template <int kDim>
__device__ void store_queries(const AttentionArgs& a, const Work& work, int kv_head, int row0,
                              int lane, std::byte* queries) {
  const int group = a.heads_per_kv;
  for (int r = 0; r < 16; ++r) {
    const int row = row0 + r, token = row / group;
    const std::byte* from = a.q + (work.token + token) * a.q_token_stride +
                            (kv_head * group + row % group) * a.q_head_stride;
#pragma unroll
    for (int box = 0; box < kDim / 64; ++box) {
      float2 pair{0.0f, 0.0f};
      if (token < work.tokens) {
        pair = *reinterpret_cast<const float2*>(from + (64 * box + 2 * lane) * 4);
      }
      const int piece = (lane / 4) ^ (row % 8);
      *reinterpret_cast<uint32_t*>(queries + box * Shape<kDim>::kQueryBoxBytes + row * 128 +
                                   piece * 16 + lane % 4 * 4) = pack_half(pair.x, pair.y);
    }
  }
}

__device__ inline RowState begin_rows(const AttentionArgs& a, const Work& work, int row0,
                                      int lane) {
  RowState state;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int token = (row0 + lane / 4 + 8 * r) / a.heads_per_kv;
    state.position[r] = token < work.tokens ? a.positions[work.token + token] : -1;
    state.max[r] = kLowest;
    state.sum[r] = 0.0f;
  }
  return state;
}

// Where a consumer is in the ring.
struct Place {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void step() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

// Starts the scores of a tile.
template <int kDim>
__device__ void ask_scores(uint32_t queries, const std::byte* stages, Barriers* barriers,
                           const Place& at, float (&scores)[kPositions / 2]) {
  using S = Shape<kDim>;
  const uint32_t k = shared_address(stages + at.stage * S::kStageBytes);
  barrier_wait(barriers->full_k + at.stage, at.parity);
  wgmma_fence();
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
    const uint64_t a = swizzled_descriptor(queries + d / 4 * S::kQueryBoxBytes) + 2 * (d % 4);
    const uint64_t b = swizzled_descriptor(k + d / 4 * S::kBoxBytes) + 2 * (d % 4);
    if (d == 0) {
      Wgmma<kPositions, WgmmaType::kF16>::first(scores, a, b);
    } else {
      Wgmma<kPositions, WgmmaType::kF16>::run(scores, a, b);
    }
  }
  wgmma_commit();
}

// Starts adding a tile's values times weights.
template <int kDim>
__device__ void add_values(const std::byte* stages, Barriers* barriers, const Place& at,
                           const uint32_t (&p)[kPositions / 16][4], float (&out)[kDim / 2]) {
  using S = Shape<kDim>;
  const uint32_t v = shared_address(stages + at.stage * S::kStageBytes + S::kTileBytes);
  barrier_wait(barriers->full_v + at.stage, at.parity);
  wgmma_fence();
#pragma unroll
  for (int i = 0; i < kPositions / 16; ++i) {
    const uint64_t b =
        swizzled_descriptor_transposed(v + i * 16 * 128, static_cast<uint32_t>(S::kBoxBytes));
    Wgmma<kDim, WgmmaType::kF16, true>::run(out, p[i], b);
  }
  wgmma_commit();
}

__device__ inline void pack_weights(const float (&scores)[kPositions / 2],
                                    uint32_t (&p)[kPositions / 16][4]) {
#pragma unroll
  for (int i = 0; i < kPositions / 16; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      p[i][j] = pack_half(scores[8 * i + 2 * j], scores[8 * i + 2 * j + 1]);
    }
  }
}

template <int kDim, bool kCapped>
__device__ void consume(const AttentionArgs& a, const Work& work, int kv_head, int row0, int lane,
                        std::byte* stages, Barriers* barriers) {
  using S = Shape<kDim>;
  std::byte* all_queries = stages + S::kQueries;
  store_queries<kDim>(a, work, kv_head, row0, lane, all_queries);
  RowState state = begin_rows(a, work, row0, lane);
  fence_shared();
  const int group = row0 / 64;
  meet(1 + group, 128);
  const uint32_t queries = shared_address(all_queries) + static_cast<uint32_t>(group * 64 * 128);
  // Masks are needed where a tile reaches past this group's first row or before its window.
  const int group_token = group * 64 / a.heads_per_kv;
  const int first_position = group_token < work.tokens ? a.positions[work.token + group_token] : -1;
  const int last_position = a.positions[work.token + work.tokens - 1];
  float out[kDim / 2], scores[kPositions / 2], shrink[2];
  uint32_t p[kPositions / 16][4];
#pragma unroll
  for (int i = 0; i < kDim / 2; ++i) out[i] = 0.0f;
  Place at;
  ask_scores<kDim>(queries, stages, barriers, at, scores);
  wgmma_wait<0>();
  hold(scores);
  if (lane == 0) barrier_arrive(barriers->empty_k + at.stage);
  for (int tile = work.tile_begin; tile < work.tile_end - 1; ++tile) {
    const int begin = tile * kPositions;
    const bool masked = begin + kPositions - 1 > first_position ||
                        (a.window > 0 && begin <= last_position - static_cast<int>(a.window));
    if (masked) {
      soften<kPositions, true, kCapped>(a, state, scores, begin, lane, shrink);
    } else {
      soften<kPositions, false, kCapped>(a, state, scores, begin, lane, shrink);
    }
    wgmma_wait<0>();  // the values of the tile before
    hold(out);
    if (lane == 0 && tile > work.tile_begin) {
      barrier_arrive(barriers->empty_v + (at.stage + kStages - 1) % kStages);
    }
    pack_weights(scores, p);
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) out[i] *= shrink[i % 4 / 2];
    Place next = at;
    next.step();
    ask_scores<kDim>(queries, stages, barriers, next, scores);
    add_values<kDim>(stages, barriers, at, p, out);
    wgmma_wait<1>();
    hold(scores);
    at = next;
    if (lane == 0) barrier_arrive(barriers->empty_k + at.stage);
  }
  soften<kPositions, true, kCapped>(a, state, scores, (work.tile_end - 1) * kPositions, lane,
                                    shrink);
  wgmma_wait<0>();
  hold(out);
  pack_weights(scores, p);
#pragma unroll
  for (int i = 0; i < kDim / 2; ++i) out[i] *= shrink[i % 4 / 2];
  add_values<kDim>(stages, barriers, at, p, out);
  wgmma_wait<0>();
  hold(out);
  write_rows<kDim>(a, work, kv_head, row0, lane, state, out);
}

template <int kDim, bool kCapped>
__device__ __forceinline__ void attend_rows(const AttentionArgs& a, const CUtensorMap& k_map,
                                            const CUtensorMap& v_map) {
  using S = Shape<kDim>;
  extern __shared__ std::byte shared[];
  __shared__ Work shared_work;
  std::byte* stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
  auto* barriers = reinterpret_cast<Barriers*>(stages + S::kBarriers);
  may_start_next();
  wait_for_inputs();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(barriers->full_k + i, 1);
      barrier_init(barriers->full_v + i, 1);
      barrier_init(barriers->empty_k + i, 8);
      barrier_init(barriers->empty_v + i, 8);
    }
    fence_barrier_init();
    shared_work = find_work(a, kRows / a.heads_per_kv, kPositions);
  }
  __syncthreads();
  const Work work = shared_work;
  if (work.sequence < 0) return;
  // The same in all lanes, which the compiler is to know: descriptors need uniform registers.
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int kv_head = static_cast<int>(blockIdx.y);
  if (warp < 4) {
    give_registers<40>();
    if (threadIdx.x == 0) feed<kDim>(a, work, kv_head, stages, barriers, &k_map, &v_map);
    return;
  }
  take_registers<232>();
  consume<kDim, kCapped>(a, work, kv_head, 16 * (warp - 4), lane, stages, barriers);
}

template <int kDim, bool kCapped>
__global__ void __launch_bounds__(kThreads, 1)
    prefill(const AttentionArgs a, const __grid_constant__ CUtensorMap k_map,
            const __grid_constant__ CUtensorMap v_map) {
  if constexpr (REALM_WGMMA) attend_rows<kDim, kCapped>(a, k_map, v_map);
}

template <int kDim, bool kCapped>
Status launch(Context& context, const AttentionArgs& a) {
  using S = Shape<kDim>;
  static const cudaError_t configured = cudaFuncSetAttribute(
      prefill<kDim, kCapped>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes);
  TRY(check(configured, "attention: shared memory"));
  const int64_t rows = a.num_pages * a.kv_heads * kPageTokens;
  const auto map = [&](const std::byte* cache) {
    return map_rows(CU_TENSOR_MAP_DATA_TYPE_FLOAT16, cache, kDim, rows, 2 * kDim, kPageTokens);
  };
  const CUtensorMap k_map = TRY(map(a.k_cache)), v_map = TRY(map(a.v_cache));
  const int tokens_of_tile = kRows / a.heads_per_kv;
  // As many tiles as there can be, whatever the sequences' shares.
  const int64_t tiles = a.num_tokens / tokens_of_tile + a.num_sequences;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(a.kv_heads));
  return cuda::launch("attention", prefill<kDim, kCapped>, grid, kThreads, S::kSharedBytes,
                      context.stream, a, k_map, v_map);
}

}  // namespace

bool can_attend_prefill(const AttentionArgs& a) {
  return a.cache_type == DType::kF16 && a.slopes == nullptr && a.oldest == nullptr &&
         a.k_dim == a.v_dim && a.k_cache != a.v_cache && (a.k_dim == 64 || a.k_dim == 128) &&
         a.heads_per_kv <= kRows && a.q_token_stride % 8 == 0 && a.q_head_stride % 8 == 0 &&
         a.window < (int64_t{1} << 31);
}

Status attend_prefill(Context& context, const AttentionArgs& a) {
  if (!context.has_wgmma) return attend_prefill_mma(context, a);
  if (a.soft_cap > 0.0f) {
    return a.k_dim == 64 ? launch<64, true>(context, a) : launch<128, true>(context, a);
  }
  return a.k_dim == 64 ? launch<64, false>(context, a) : launch<128, false>(context, a);
}

}  // namespace realm::cuda
