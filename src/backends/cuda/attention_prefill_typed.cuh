// Prefill over caches of other types than F16, whose kernel (attention_prefill.cu) this one is
// like: 128 rows a block, two groups of four warps with 64 rows each, a third that feeds them 128
// positions at a time by the copy engine. BF16 goes as it is; Q8_0 and E4M3 the third group widens
// to half precision on the way. Scores are not asked for a tile ahead here: a group waits for its
// products, and the other group's run beside its softmax. Limited by the matrix units, and with
// Q8_0 by the widening.
#pragma once

#include "backends/cuda/async.cuh"
#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_pages.cuh"
#include "backends/cuda/attention_rows.cuh"
#include "backends/cuda/attention_shared.cuh"
#include "backends/cuda/features.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/tensor_map.cuh"
#include "backends/cuda/wgmma.cuh"

namespace realm::cuda::prefill_detail {

constexpr int kRows = kSharedRows, kPositions = kSharedPositions;
constexpr int kPagesOfTile = kPositions / kPageTokens;
constexpr int kThreads = 384, kStages = 2;
static_assert(kRows == kTypedRows);

template <CacheType kType, int kDim>
struct Shape {
  static constexpr int kBoxes = kDim / 64;
  static constexpr int kBoxBytes = kPositions * 128;  // 64 columns
  static constexpr int kTileBytes = kBoxes * kBoxBytes;
  static constexpr int kStageBytes = 2 * kTileBytes;
  static constexpr int kQueryBytes = kRows * kDim * 2;  // boxes of 64 columns, as pages have
  // What is to be widened comes as it is first, a tile of keys and one of values.
  static constexpr bool kWidens = kType == CacheType::kQ8_0 || kType == CacheType::kE4M3;
  static constexpr int kRowBytes = cache_row_bytes(kType, kDim);
  static constexpr int kRawBytes = kPositions * kRowBytes;
  static constexpr int kBarrierBytes = 256;
  static constexpr int kSharedBytes =
      1024 + kStages * kStageBytes + kQueryBytes + kBarrierBytes + (kWidens ? 2 * kRawBytes : 0);
};

struct Barriers {
  uint64_t full_k[kStages], full_v[kStages], empty_k[kStages], empty_v[kStages];
  uint64_t raw[2];
};

// Where one is in the ring. A feeder begins with the parity of what was never filled.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0, raw_parity = 0;

  __device__ void step() {
    raw_parity ^= 1;
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

// One thread's.
template <CacheType kType, int kDim>
__device__ void feed(const AttentionArgs& a, const Work& work, int kv_head, std::byte* stages,
                     Barriers* barriers, const CUtensorMap* k_map, const CUtensorMap* v_map,
                     RingPlace& at) {
  using S = Shape<kType, kDim>;
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

// Eight elements of a row from a multiple of 8 on, in half precision.
template <CacheType kType>
__device__ uint4 widen_eight(const std::byte* row, int d) {
  uint4 x;
  if constexpr (kType == CacheType::kE4M3) {
    const uint2 codes = *reinterpret_cast<const uint2*>(row + d);
    widen_e4m3(codes.x, x.x, x.y);
    widen_e4m3(codes.y, x.z, x.w);
  } else {
    const auto* block = reinterpret_cast<const uint16_t*>(row + d / 32 * 34);
    const uint16_t* codes = block + 1 + d % 32 / 2;
    const uint32_t factors = block[0] * 0x10001u;
    const auto two = [&](int i) {
      return scale_halves(widen_codes(codes[i] ^ 0x8080u, 0x4140), factors);
    };
    x = make_uint4(two(0), two(1), two(2), two(3));
  }
  return x;
}

// The feeding group's 128 threads.
template <CacheType kType, int kDim>
__device__ void feed_widened(const AttentionArgs& a, const Work& work, int kv_head,
                             std::byte* stages, std::byte* raw, Barriers* barriers, RingPlace& at) {
  using S = Shape<kType, kDim>;
  constexpr int kPageBytes = kPageTokens * S::kRowBytes, kPieces = kDim / 8;
  const int thread = static_cast<int>(threadIdx.x);
  const int32_t* pages = a.page_table + work.sequence * a.max_pages;
  const int last_page = work.last / kPageTokens;
  const auto ask = [&](int tile, int v) {
    barrier_expect(&barriers->raw[v], S::kRawBytes);
#pragma unroll
    for (int i = 0; i < kPagesOfTile; ++i) {
      // Pages past the last one are masked; any page will do for them.
      const int64_t page = pages[min(tile * kPagesOfTile + i, last_page)];
      const std::byte* from = v == 0
                                  ? a.k_cache + page * a.k_page_stride + kv_head * a.k_head_stride
                                  : a.v_cache + page * a.v_page_stride + kv_head * a.v_head_stride;
      copy_bytes(raw + v * S::kRawBytes + i * kPageBytes, from, kPageBytes, &barriers->raw[v]);
    }
  };
  if (thread == 0) {
    ask(work.tile_begin, 0);
    ask(work.tile_begin, 1);
  }
  for (int tile = work.tile_begin; tile < work.tile_end; ++tile) {
#pragma unroll
    for (int v = 0; v < 2; ++v) {
      barrier_wait(&barriers->raw[v], at.raw_parity);
      barrier_wait((v == 0 ? barriers->empty_k : barriers->empty_v) + at.stage, at.parity);
      const std::byte* from = raw + v * S::kRawBytes;
      std::byte* const to = stages + at.stage * S::kStageBytes + v * S::kTileBytes;
#pragma unroll 4
      for (int i = thread; i < kPositions * kPieces; i += 128) {
        const int row = i / kPieces, piece = i % kPieces;
        *reinterpret_cast<uint4*>(to + piece / 8 * S::kBoxBytes + row * 128 +
                                  (piece % 8 ^ row % 8) * 16) =
            widen_eight<kType>(from + row * S::kRowBytes, 8 * piece);
      }
      // Before products read it.
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      barrier_arrive((v == 0 ? barriers->full_k : barriers->full_v) + at.stage);
      asm volatile("bar.sync 1, 128;" ::: "memory");  // all have read what comes next is put over
      if (thread == 0 && tile + 1 < work.tile_end) ask(tile + 1, v);
    }
    at.step();
  }
}

// A warp's 16 rows of queries into shared memory, and then what products need of its 64.
template <int kDim, bool kBf16, bool kShared>
__device__ void store_queries(const AttentionArgs& a, const Work& work, int kv_head, int row0,
                              int lane, std::byte* queries, RowState& state) {
  const int group = a.heads_per_kv;
  const std::byte* from[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = row0 + lane / 4 + 8 * r, token = row / group;
    const bool there = token < work.tokens;
    state.position[r] = !there ? -1 : kShared ? work.last : a.positions[work.token + token];
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
      const int row = row0 + lane / 4 + 8 * (i % 2), piece = 2 * d + i / 2;
      float2 pair{0.0f, 0.0f};
      if (from[i % 2] != nullptr) {
        pair = *reinterpret_cast<const float2*>(from[i % 2] + (8 * piece + 2 * (lane % 4)) * 4);
      }
      *reinterpret_cast<uint32_t*>(queries + piece / 8 * kRows * 128 + row * 128 +
                                   (piece % 8 ^ row % 8) * 16 + lane % 4 * 4) =
          pack_pair<kBf16>(pair.x, pair.y);
    }
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("bar.sync %0, 128;" ::"r"(2 + row0 / 64) : "memory");
}

// A warp's rows. With kShared there may have been other work before, and may be after.
template <CacheType kType, int kDim, bool kCapped, bool kShared>
__device__ void consume(const AttentionArgs& a, const Work& work, int kv_head, int row0, int lane,
                        const std::byte* stages, std::byte* queries, Barriers* barriers,
                        RingPlace& at, const SharedPartials& shares) {
  using S = Shape<kType, kDim>;
  constexpr bool kBf16 = kType == CacheType::kBF16;
  constexpr WgmmaType kWgmma = kBf16 ? WgmmaType::kBf16 : WgmmaType::kF16;
  RowState state;
  if constexpr (kShared) meet(2 + row0 / 64, 128);  // the queries before are not needed any more
  store_queries<kDim, kBf16, kShared>(a, work, kv_head, row0, lane, queries, state);
  const uint32_t q = shared_address(queries) + static_cast<uint32_t>(row0 / 64 * 64 * 128);
  float out[kDim / 2], scores[kPositions / 2];
#pragma unroll
  for (int i = 0; i < kDim / 2; ++i) out[i] = 0.0f;
    // Out here, so that nothing but products writes to them while products run.
#pragma unroll
  for (int i = 0; i < kPositions / 2; ++i) scores[i] = 0.0f;
  // Masks are needed where a tile reaches past this group's first row or before its window.
  const int group_token = row0 / 64 * 64 / a.heads_per_kv;
  const int first_position = kShared                     ? work.last
                             : group_token < work.tokens ? a.positions[work.token + group_token]
                                                         : -1;
  const int last_position = work.last;
  for (int tile = work.tile_begin; tile < work.tile_end; ++tile) {
    const uint32_t k = shared_address(stages + at.stage * S::kStageBytes);
    barrier_wait(barriers->full_k + at.stage, at.parity);
    wgmma_fence();
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      const uint64_t b = swizzled_descriptor(k + d / 4 * S::kBoxBytes) + 2 * (d % 4);
      const uint64_t rows = swizzled_descriptor(q + d / 4 * kRows * 128) + 2 * (d % 4);
      Wgmma<kPositions, kWgmma>::run(scores, rows, b, d > 0 ? 1 : 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    if (lane == 0) barrier_arrive(barriers->empty_k + at.stage);
    float shrink[2];
    const int begin = tile * kPositions;
    const bool masked = begin + kPositions - 1 > first_position ||
                        (a.window > 0 && begin <= last_position - static_cast<int>(a.window));
    if (masked) {
      soften<kPositions, true, kCapped>(a, state, scores, begin, lane, shrink);
    } else {
      soften<kPositions, false, kCapped>(a, state, scores, begin, lane, shrink);
    }
    uint32_t p[kPositions / 16][4];
#pragma unroll
    for (int i = 0; i < kPositions / 16; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        p[i][j] = pack_pair<kBf16>(scores[8 * i + 2 * j], scores[8 * i + 2 * j + 1]);
      }
    }
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) out[i] *= shrink[i % 4 / 2];
    barrier_wait(barriers->full_v + at.stage, at.parity);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kPositions / 16; ++i) {
      const uint64_t b = swizzled_descriptor_transposed(k + S::kTileBytes + i * 16 * 128,
                                                        static_cast<uint32_t>(S::kBoxBytes));
      Wgmma<kDim, kWgmma, true>::run(out, p[i], b);
    }
    wgmma_commit();
    // Sums that are still on their way at the loop's end, the compiler waits for product by
    // product.
    wgmma_wait<0>();
    if (lane == 0) barrier_arrive(barriers->empty_v + at.stage);
    at.step();
  }
  finish_rows<kDim, kShared>(a, work, shares, kv_head, row0, lane, state, out);
}

// kShared: of the pages that sequences have in common, into shares.
template <CacheType kType, int kDim, bool kCapped, bool kShared>
__device__ __forceinline__ void attend_rows(const AttentionArgs& a, const SharedPartials& shares,
                                            const CUtensorMap& k_map, const CUtensorMap& v_map) {
  using S = Shape<kType, kDim>;
  extern __shared__ std::byte shared[];
  std::byte* stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
  std::byte* const queries = stages + kStages * S::kStageBytes;
  auto* barriers = reinterpret_cast<Barriers*>(queries + S::kQueryBytes);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  start_block<kShared>();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(barriers->full_k + i, S::kWidens ? 128 : 1);
      barrier_init(barriers->full_v + i, S::kWidens ? 128 : 1);
      barrier_init(barriers->empty_k + i, 8);
      barrier_init(barriers->empty_v + i, 8);
    }
    barrier_init(&barriers->raw[0], 1);
    barrier_init(&barriers->raw[1], 1);
    fence_barrier_init();
  }
  for_block<kShared>(a, warp, lane, [&](int kv_head, auto&& for_each_work) {
    if (warp < 4) {
      give_registers<40>();
      RingPlace at{.stage = 0, .parity = 1};
      if (!S::kWidens && threadIdx.x != 0) return;
      for_each_work([&](const Work& work) {
        if constexpr (S::kWidens) {
          std::byte* const raw = queries + S::kQueryBytes + S::kBarrierBytes;
          feed_widened<kType, kDim>(a, work, kv_head, stages, raw, barriers, at);
        } else {
          feed<kType, kDim>(a, work, kv_head, stages, barriers, &k_map, &v_map, at);
        }
      });
      return;
    }
    take_registers<232>();
    RingPlace at;
    const int row0 = 16 * (warp - 4);
    for_each_work([&](const Work& work) {
      consume<kType, kDim, kCapped, kShared>(a, work, kv_head, row0, lane, stages, queries,
                                             barriers, at, shares);
    });
  });
}

template <CacheType kType, int kDim, bool kCapped, bool kShared>
__global__ void __launch_bounds__(kThreads, 1)
    prefill(const AttentionArgs a, const SharedPartials shares,
            const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap v_map) {
  if constexpr (REALM_WGMMA) attend_rows<kType, kDim, kCapped, kShared>(a, shares, k_map, v_map);
}

template <CacheType kType, int kDim, bool kCapped, bool kShared>
Status launch_on(Context& context, const AttentionArgs& a, dim3 grid,
                 const SharedPartials& shares) {
  using S = Shape<kType, kDim>;
  const auto kernel = prefill<kType, kDim, kCapped, kShared>;
  static const cudaError_t configured =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes);
  TRY(check(configured, "attention: shared memory"));
  CUtensorMap k_map{}, v_map{};
  if constexpr (!S::kWidens) {
    const int64_t rows = a.num_pages * a.kv_heads * kPageTokens;
    const auto map = [&](const std::byte* cache) {
      return map_rows(CU_TENSOR_MAP_DATA_TYPE_UINT16, cache, kDim, rows, 2 * kDim, kPageTokens);
    };
    k_map = TRY(map(a.k_cache));
    v_map = TRY(map(a.v_cache));
  }
  return cuda::launch("attention", kernel, grid, kThreads, S::kSharedBytes, context.stream, a,
                      shares, k_map, v_map);
}

template <CacheType kType, bool kShared>
Status launch(Context& context, const AttentionArgs& a, dim3 grid, const SharedPartials& shares) {
  if (a.soft_cap > 0.0f) {
    return a.k_dim == 64 ? launch_on<kType, 64, true, kShared>(context, a, grid, shares)
                         : launch_on<kType, 128, true, kShared>(context, a, grid, shares);
  }
  return a.k_dim == 64 ? launch_on<kType, 64, false, kShared>(context, a, grid, shares)
                       : launch_on<kType, 128, false, kShared>(context, a, grid, shares);
}

}  // namespace realm::cuda::prefill_detail

namespace realm::cuda {

template <CacheType kType>
Status attend_prefill_of(Context& context, const AttentionArgs& a) {
  const int tokens_of_tile = prefill_detail::kRows / a.heads_per_kv;
  // As many tiles as there can be, whatever the sequences' shares.
  const int64_t tiles = a.num_tokens / tokens_of_tile + a.num_sequences;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(a.kv_heads));
  return prefill_detail::launch<kType, false>(context, a, grid, {});
}

template <CacheType kType>
Status attend_shared_of(Context& context, const AttentionArgs& a, const SharedPartials& partials,
                        int parts) {
  const dim3 grid(static_cast<unsigned>(a.kv_heads), static_cast<unsigned>(parts));
  return prefill_detail::launch<kType, true>(context, a, grid, partials);
}

}  // namespace realm::cuda
