// Attention of runs of tokens over an F16 cache: prefill. A block takes 128 rows, each a token and
// one of the query heads that share a KV head; two groups of four warps have 64 rows each, a fifth
// warp feeds them pages by the copy engine, 128 positions at a time, keys and values apart so that
// scores start before the values are there. Queries lie in shared memory; scores and sums stay in
// registers. A tile's scores are asked for before the values of the tile before are multiplied, so
// that their softmax runs beside that product, and beside the other group's (Dao et al. 2022; Shah
// et al. 2024). Limited by the matrix units, and by exponentials next to them. The same kernel
// reads pages that sequences of a decode step have in common (attention_shared.cuh).
#include <cuda_fp16.h>

#include "backends/cuda/async.cuh"
#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_rows.cuh"
#include "backends/cuda/attention_shared.cuh"
#include "backends/cuda/features.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/tensor_map.cuh"
#include "backends/cuda/wgmma.cuh"

namespace realm::cuda {
namespace {

constexpr int kRows = kSharedRows, kPositions = kSharedPositions;
constexpr int kPagesOfTile = kPositions / kPageTokens;
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

// Where one is in the ring. A feeder begins with the parity of what was never filled.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void step() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

template <int kDim>
__device__ void feed(const AttentionArgs& a, const Work& work, int kv_head, std::byte* stages,
                     Barriers* barriers, const CUtensorMap* k_map, const CUtensorMap* v_map,
                     RingPlace& at) {
  using S = Shape<kDim>;
  const int32_t* pages = a.page_table + work.sequence * a.max_pages;
  const int last_page = work.last / kPageTokens;
  for (int tile = work.tile_begin; tile < work.tile_end; ++tile) {
    int rows[kPagesOfTile];
#pragma unroll
    for (int i = 0; i < kPagesOfTile; ++i) {
      // Pages past the last one are masked; any page will do for them.
      const int page = pages[min(tile * kPagesOfTile + i, last_page)];
      rows[i] = (page * a.kv_heads + kv_head) * kPageTokens;
    }
    std::byte* k = stages + at.stage * S::kStageBytes;
    const auto copy = [&](std::byte* to, const CUtensorMap* map, uint64_t* empty, uint64_t* full) {
      barrier_wait(empty, at.parity);
      barrier_expect(full, S::kTileBytes);
      for (int box = 0; box < S::kBoxes; ++box) {
        for (int i = 0; i < kPagesOfTile; ++i) {
          copy_box(to + box * S::kBoxBytes + i * kPageTokens * 128, map, 64 * box, rows[i], full);
        }
      }
    };
    copy(k, k_map, barriers->empty_k + at.stage, barriers->full_k + at.stage);
    copy(k + S::kTileBytes, v_map, barriers->empty_v + at.stage, barriers->full_v + at.stage);
    at.step();
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

template <bool kShared>
__device__ RowState begin_rows(const AttentionArgs& a, const Work& work, int row0, int lane) {
  RowState state;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int token = (row0 + lane / 4 + 8 * r) / a.heads_per_kv;
    state.position[r] = token >= work.tokens ? -1
                        : kShared            ? work.last
                                             : a.positions[work.token + token];
    state.max[r] = kLowest;
    state.sum[r] = 0.0f;
  }
  return state;
}

// Starts the scores of a tile.
template <int kDim>
__device__ void ask_scores(uint32_t queries, const std::byte* stages, Barriers* barriers,
                           const RingPlace& at, float (&scores)[kPositions / 2]) {
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
__device__ void add_values(const std::byte* stages, Barriers* barriers, const RingPlace& at,
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

// A warp's rows. With kShared there may have been other work before, and may be after.
template <int kDim, bool kCapped, bool kShared>
__device__ void consume(const AttentionArgs& a, const Work& work, int kv_head, int row0, int lane,
                        std::byte* stages, Barriers* barriers, RingPlace& at,
                        const SharedPartials& shares) {
  using S = Shape<kDim>;
  std::byte* all_queries = stages + S::kQueries;
  const int group = row0 / 64;
  if constexpr (kShared) meet(1 + group, 128);  // the queries before are not needed any more
  store_queries<kDim>(a, work, kv_head, row0, lane, all_queries);
  RowState state = begin_rows<kShared>(a, work, row0, lane);
  fence_shared();
  meet(1 + group, 128);
  const uint32_t queries = shared_address(all_queries) + static_cast<uint32_t>(group * 64 * 128);
  // Masks are needed where a tile reaches past this group's first row or before its window.
  const int group_token = group * 64 / a.heads_per_kv;
  const int first_position = kShared                     ? work.last
                             : group_token < work.tokens ? a.positions[work.token + group_token]
                                                         : -1;
  const int last_position = work.last;
  float out[kDim / 2], scores[kPositions / 2], shrink[2];
  uint32_t p[kPositions / 16][4];
#pragma unroll
  for (int i = 0; i < kDim / 2; ++i) out[i] = 0.0f;
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
    RingPlace next = at;
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
  if constexpr (kShared) {
    if (lane == 0) {
      if (work.tile_end - work.tile_begin > 1) {
        barrier_arrive(barriers->empty_v + (at.stage + kStages - 1) % kStages);
      }
      barrier_arrive(barriers->empty_v + at.stage);
    }
    at.step();
  }
  finish_rows<kDim, kShared>(a, work, shares, kv_head, row0, lane, state, out);
}

__device__ inline void begin_barriers(Barriers* barriers) {
  for (int i = 0; i < kStages; ++i) {
    barrier_init(barriers->full_k + i, 1);
    barrier_init(barriers->full_v + i, 1);
    barrier_init(barriers->empty_k + i, 8);
    barrier_init(barriers->empty_v + i, 8);
  }
  fence_barrier_init();
}

// kShared: of the pages that sequences have in common, into shares.
template <int kDim, bool kCapped, bool kShared>
__device__ __forceinline__ void attend_rows(const AttentionArgs& a, const SharedPartials& shares,
                                            const CUtensorMap& k_map, const CUtensorMap& v_map) {
  using S = Shape<kDim>;
  extern __shared__ std::byte shared[];
  std::byte* stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
  auto* barriers = reinterpret_cast<Barriers*>(stages + S::kBarriers);
  // The same in all lanes, which the compiler is to know: descriptors need uniform registers.
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  start_block<kShared>();
  if (threadIdx.x == 0) begin_barriers(barriers);
  for_block<kShared>(a, warp, lane, [&](int kv_head, auto&& for_each_work) {
    if (warp < 4) {
      give_registers<40>();
      RingPlace at{.stage = 0, .parity = 1};
      if (threadIdx.x == 0) {
        for_each_work([&](const Work& work) {
          feed<kDim>(a, work, kv_head, stages, barriers, &k_map, &v_map, at);
        });
      }
      return;
    }
    take_registers<232>();
    RingPlace at;
    const int row0 = 16 * (warp - 4);
    for_each_work([&](const Work& work) {
      consume<kDim, kCapped, kShared>(a, work, kv_head, row0, lane, stages, barriers, at, shares);
    });
  });
}

template <int kDim, bool kCapped, bool kShared>
__global__ void __launch_bounds__(kThreads, 1)
    prefill(const AttentionArgs a, const SharedPartials shares,
            const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap v_map) {
  if constexpr (REALM_WGMMA) attend_rows<kDim, kCapped, kShared>(a, shares, k_map, v_map);
}

template <int kDim, bool kCapped, bool kShared>
Status launch_on(Context& context, const AttentionArgs& a, dim3 grid,
                 const SharedPartials& shares) {
  using S = Shape<kDim>;
  const auto kernel = prefill<kDim, kCapped, kShared>;
  static const cudaError_t configured =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes);
  TRY(check(configured, "attention: shared memory"));
  const int64_t rows = a.num_pages * a.kv_heads * kPageTokens;
  const auto map = [&](const std::byte* cache) {
    return map_rows(CU_TENSOR_MAP_DATA_TYPE_FLOAT16, cache, kDim, rows, 2 * kDim, kPageTokens);
  };
  const CUtensorMap k_map = TRY(map(a.k_cache)), v_map = TRY(map(a.v_cache));
  return cuda::launch("attention", kernel, grid, kThreads, S::kSharedBytes, context.stream, a,
                      shares, k_map, v_map);
}

template <bool kShared>
Status launch(Context& context, const AttentionArgs& a, dim3 grid, const SharedPartials& shares) {
  if (a.soft_cap > 0.0f) {
    return a.k_dim == 64 ? launch_on<64, true, kShared>(context, a, grid, shares)
                         : launch_on<128, true, kShared>(context, a, grid, shares);
  }
  return a.k_dim == 64 ? launch_on<64, false, kShared>(context, a, grid, shares)
                       : launch_on<128, false, kShared>(context, a, grid, shares);
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
  const int tokens_of_tile = kRows / a.heads_per_kv;
  // As many tiles as there can be, whatever the sequences' shares.
  const int64_t tiles = a.num_tokens / tokens_of_tile + a.num_sequences;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(a.kv_heads));
  return launch<false>(context, a, grid, {});
}

Status attend_shared(Context& context, const AttentionArgs& a, const SharedPartials& partials,
                     int parts) {
  const dim3 grid(static_cast<unsigned>(a.kv_heads), static_cast<unsigned>(parts));
  return launch<true>(context, a, grid, partials);
}

}  // namespace realm::cuda
