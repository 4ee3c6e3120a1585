// Decode over caches of BF16, Q8_0 and E4M3, on devices with wgmma: attention_decode.cu's line of
// pages, cut and merged as there, whose comments hold here, too. What differs is how a page comes
// and how it becomes the first factors of products: attention_pages.cuh.
#pragma once

#include <algorithm>

#include "backends/cuda/async.cuh"
#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_line.cuh"
#include "backends/cuda/attention_pages.cuh"
#include "backends/cuda/attention_shared.cuh"
#include "backends/cuda/features.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/reduce.cuh"
#include "backends/cuda/tensor_map.cuh"

namespace realm::cuda::decode_detail {

constexpr int kHeads = kTypedHeadsMax / 2;
static_assert(kSequences == kTypedSequences);

template <CacheType kType, int kDim>
struct Ring {
  using Page = PageOf<kType, kDim>;
  // 128 KB on their way, where two pages a warp would do with half of the warps, too.
  static constexpr int kWarps = kDim <= 128 ? 8 : 4, kThreads = 32 * kWarps;
  static constexpr int kPageBytes = Page::kPageBytes, kStageBytes = 2 * kPageBytes;
  static constexpr int kStages = (128 * 1024 / kWarps + kPageBytes) / kStageBytes;
  static constexpr int kWarpBytes = kStages * kStageBytes;
  static constexpr int kBytes = kWarps * kWarpBytes;
  // Of a launch: room to align, the ring, the rows to merge, the sequences' ends.
  static size_t shared_bytes(const AttentionArgs& a) {
    return static_cast<size_t>(1024 + kBytes +
                               (kWarps * a.heads_per_kv * (kDim + 2) + a.num_sequences) * 4);
  }
};

// One lane's: asks for a page's keys and values.
template <CacheType kType, int kDim>
__device__ void fetch_page(const AttentionArgs& a, const CUtensorMap* k_map,
                           const CUtensorMap* v_map, int64_t page, int head, std::byte* to,
                           uint64_t* barrier) {
  using R = Ring<kType, kDim>;
  barrier_expect(barrier, R::kStageBytes);
  R::Page::fetch(k_map, a.k_cache, page * a.k_page_stride + head * a.k_head_stride, to, barrier);
  R::Page::fetch(v_map, a.v_cache, page * a.v_page_stride + head * a.v_head_stride,
                 to + R::kPageBytes, barrier);
}

// Folds a page into the state. Positions outside [first, last] count nothing.
template <CacheType kType, int kDim, int kTiles>
__device__ void fold_page(const AttentionArgs& a, State<kDim, kTiles>& state,
                          float (&scores)[kTiles][2][4], int begin, int first, int last,
                          uint32_t v_page, int lane) {
  using Page = PageOf<kType, kDim>;
  if (a.soft_cap > 0.0f) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float& score = scores[n][i / 4][i % 4];
        score = kLog2E * cap_score(score, a.soft_cap);
      }
    }
  }
  if (begin < first || begin + kPage - 1 > last) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int position = begin + 16 * (i / 4) + Page::position(lane / 4, i % 4 / 2);
      if (position >= first && position <= last) continue;
#pragma unroll
      for (int n = 0; n < kTiles; ++n) scores[n][i / 4][i % 4] = -INFINITY;
    }
  }
  uint32_t p[kTiles][2][2];
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    bool grew = false;
    float correction[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float max = fmaxf(fmaxf(scores[n][0][i], scores[n][0][2 + i]),
                        fmaxf(scores[n][1][i], scores[n][1][2 + i]));
      max = over_positions(max, [](float x, float y) { return fmaxf(x, y); });
      max = fmaxf(max, state.max[n][i]);
      correction[i] = power_of_two(state.max[n][i] - max);
      grew = grew || max > state.max[n][i];
      state.max[n][i] = max;
      float sum = 0.0f;
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float& score = scores[n][m][2 * r + i];
          score = power_of_two(score - max);
          sum += score;
        }
      }
      state.sum[n][i] = state.sum[n][i] * correction[i] + sum;
    }
    if (__any_sync(0xffffffffu, grew)) {
#pragma unroll
      for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
        for (int i = 0; i < 4; ++i) state.out[n][d][i] *= correction[i % 2];
      }
    }
    // A lane has a position's weights for two heads; the product wants two positions' for one head.
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        p[n][m][r] = transpose_matrix(Page::pack(scores[n][m][2 * r], scores[n][m][2 * r + 1]));
      }
    }
  }
  Page::add_values(p, v_page, lane, state.out);
}

// The query heads as operands, scaled; heads past the group are zero.
template <CacheType kType, int kDim, int kTiles>
__device__ void load_queries(const AttentionArgs& a, int64_t token, int kv_head, int lane,
                             uint32_t (&q)[kTiles][kDim / 16][2]) {
  using Page = PageOf<kType, kDim>;
  const float scale = a.soft_cap > 0.0f ? a.scale : a.scale * kLog2E;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    const int row = kHeads * n + lane / 4;
    const std::byte* from =
        a.q + token * a.q_token_stride + (kv_head * a.heads_per_kv + row) * a.q_head_stride;
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float2 pair{0.0f, 0.0f};
        if (row < a.heads_per_kv) {
          pair = *reinterpret_cast<const float2*>(from + Page::query_dim(d, i, lane % 4) * 4);
        }
        q[n][d][i] = Page::pack(pair.x * scale, pair.y * scale);
      }
    }
  }
}

// A warp's state as rows of [heads_per_kv, dim + 2]: sums, maximum, total.
template <CacheType kType, int kDim, int kTiles>
__device__ void write_state(const AttentionArgs& a, const State<kDim, kTiles>& state, int lane,
                            float* rows) {
  using Page = PageOf<kType, kDim>;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float sum = over_positions(state.sum[n][i], [](float x, float y) { return x + y; });
      const int row = kHeads * n + 2 * (lane % 4) + i;
      if (row >= a.heads_per_kv) continue;
      float* to = rows + row * (kDim + 2);
#pragma unroll
      for (int d = 0; d < kDim / 16; ++d) {
        to[Page::value_dim(d, 0, lane / 4)] = state.out[n][d][i];
        to[Page::value_dim(d, 1, lane / 4)] = state.out[n][d][2 + i];
      }
      if (lane / 4 == 0) {
        to[kDim] = kLn2 * state.max[n][i];
        to[kDim + 1] = sum;
      }
    }
  }
}

// Block (h, i) takes part i of the line, of KV head h. The heads' blocks keep step, so that what
// they read of a page at a time lies together.
template <CacheType kType, int kDim, int kTiles, bool kShared>
__device__ __forceinline__ void attend_line(const AttentionArgs& a, const Partials& partials,
                                            const SharedPartials& shared_partials,
                                            const CUtensorMap& k_map, const CUtensorMap& v_map) {
  using R = Ring<kType, kDim>;
  constexpr int kShare = kDim + 2, kWarps = R::kWarps;
  extern __shared__ std::byte shared[];
  __shared__ uint64_t barriers[kWarps][R::kStages];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  std::byte* const stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
  std::byte* const ring = stages + warp * R::kWarpBytes;
  auto* const rows = reinterpret_cast<float*>(stages + R::kBytes);
  int* const ends = reinterpret_cast<int*>(rows + kWarps * a.heads_per_kv * kShare);
  may_start_next();
  if (lane == 0) {
    if constexpr (R::Page::kMapped) {
      prefetch_map(&k_map);
      prefetch_map(&v_map);
    }
#pragma unroll
    for (int s = 0; s < R::kStages; ++s) barrier_init(&barriers[warp][s], 1);
    fence_barrier_init();
  }
  // What there is to wait for has let this kernel start (attention_shared.cuh).
  if constexpr (!kShared) wait_for_inputs();
  const LineCut cut = cut_line<kShared>(a, ends, warp, lane);
  const auto [share, each] = cut;
  const int num_sequences = a.num_sequences, kv_head = static_cast<int>(blockIdx.x);
  const int part = static_cast<int>(blockIdx.y);
  int begin = part * share, end = ends[num_sequences - 1];
  if (each > 0) {
    const int sequence = part / each;
    if (sequence >= num_sequences) {
      wait_for_inputs();
      return;
    }
    begin = (sequence > 0 ? ends[sequence - 1] : 0) + part % each * share;
    end = ends[sequence];
  }
  end = min(begin + share, end);
  if (begin >= end) {
    wait_for_inputs();
    return;
  }

  // What comes next from memory; the page's number is asked for one turn ahead.
  Place place(ends, num_sequences, begin), ahead = place;
  int fetch_at = begin + warp;
  int32_t fetch_number = 0;
  const auto find_number = [&] {
    if (fetch_at >= end) return;
    while (fetch_at >= ahead.end) ahead.next(ends, num_sequences);
    fetch_number = a.page_table[ahead.sequence * a.max_pages +
                                first_page<kShared>(a, ahead.sequence) + fetch_at - ahead.begin];
  };
  const auto fetch = [&](int s) {
    if (fetch_at >= end) return;
    if (lane == 0) {
      fetch_page<kType, kDim>(a, &k_map, &v_map, fetch_number, kv_head, ring + s * R::kStageBytes,
                              &barriers[warp][s]);
    }
    fetch_at += kWarps;
    find_number();
  };
  find_number();
#pragma unroll
  for (int s = 0; s < R::kStages; ++s) fetch(s);

  int at = begin + warp, stage = 0;
  uint32_t parity = 0;
  GivenShares<kShared> given;
  for (; place.begin < end; place.next(ends, num_sequences)) {
    const int64_t token = place.sequence;  // one token a sequence
    // Asked for ahead, except by the first, which may have something to do before they are there.
    if (kShared && given.sequence >= 0) given.find(a, shared_partials, place.sequence);
    const int last = a.positions[token], first = first_position(a, last);
    const int page_begin = kShared ? first_page<kShared>(a, place.sequence) : first / kPage;
    uint32_t q[kTiles][kDim / 16][2];
    load_queries<kType, kDim, kTiles>(a, token, kv_head, lane, q);
    State<kDim, kTiles> state;
    state.clear();
    const int place_end = min(place.end, end);
    for (; at < place_end; at += kWarps) {
      barrier_wait(&barriers[warp][stage], parity);
      const uint32_t page = shared_address(ring + stage * R::kStageBytes);
      float scores[kTiles][2][4] = {};
      R::Page::add_scores(q, page, lane, scores);
      fold_page<kType>(a, state, scores, (page_begin + at - place.begin) * kPage, first, last,
                       page + R::kPageBytes, lane);
      __syncwarp();
      fetch(stage);
      if (++stage == R::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }

    __syncthreads();  // the rows of the sequence before have been read
    write_state<kType>(a, state, lane, rows + warp * a.heads_per_kv * kShare);
    __syncthreads();
    finish_sequence<kDim, kWarps, kShared>(a, partials, shared_partials, given, place, cut, begin,
                                           end, kv_head, warp, rows);
  }
}

template <CacheType kType, int kDim, int kTiles, bool kShared>
__global__ void __launch_bounds__(Ring<kType, kDim>::kThreads)
    decode(const AttentionArgs a, const Partials partials, const SharedPartials shared_partials,
           const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap v_map) {
  if constexpr (REALM_WGMMA) {
    attend_line<kType, kDim, kTiles, kShared>(a, partials, shared_partials, k_map, v_map);
  }
}

template <CacheType kType, int kDim, int kTiles, bool kShared>
Status launch_tiles(Context& context, const AttentionArgs& args) {
  using R = Ring<kType, kDim>;
  using Page = typename R::Page;
  constexpr int kSharedMax = 227 * 1024 - 512;
  const auto kernel = decode<kType, kDim, kTiles, kShared>;
  static const cudaError_t configured =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedMax);
  TRY(check(configured, "attention: shared memory"));
  CUtensorMap k_map{}, v_map{};
  if constexpr (Page::kMapped) {
    const auto map = [&](const std::byte* cache, int64_t page_stride) {
      return map_rows(CU_TENSOR_MAP_DATA_TYPE_UINT16, cache, Page::kMapColumns,
                      args.num_pages * page_stride / Page::kMapRowBytes, Page::kMapRowBytes,
                      Page::kBoxRows);
    };
    k_map = TRY(map(args.k_cache, args.k_page_stride));
    v_map = TRY(map(args.v_cache, args.v_page_stride));
  }
  const DecodeLaunch launch(context, args);
  std::byte* const memory = TRY(context.partials.get(launch.bytes));
  const Partials partials{.values = reinterpret_cast<float*>(memory),
                          .counters = reinterpret_cast<int*>(context.counters)};
  for (int first = 0; first < args.num_sequences; first += kSequences) {
    const AttentionArgs part =
        some_sequences(args, first, std::min(kSequences, args.num_sequences - first));
    SharedPartials shared_partials;
    if constexpr (kShared) {
      shared_partials = launch.shared_partials(memory);
      TRY(attend_shared_of<kType>(context, part, shared_partials, launch.shared_parts));
    }
    const dim3 grid(static_cast<unsigned>(args.kv_heads), static_cast<unsigned>(launch.parts));
    TRY(cuda::launch("attention", kernel, grid, R::kThreads, R::shared_bytes(part), context.stream,
                     part, partials, shared_partials, k_map, v_map));
  }
  return {};
}

template <CacheType kType, int kDim, bool kShared = false>
Status launch(Context& context, const AttentionArgs& args) {
  return args.heads_per_kv <= kHeads ? launch_tiles<kType, kDim, 1, kShared>(context, args)
                                     : launch_tiles<kType, kDim, 2, kShared>(context, args);
}

template <CacheType kType, int kDim>
Status launch_shape(Context& context, const AttentionArgs& args) {
  if constexpr (kDim <= kSharedDimMax) {
    if (args.shared != nullptr && can_share_pages(context, args)) {
      return launch<kType, kDim, true>(context, args);
    }
  }
  return launch<kType, kDim>(context, args);
}

}  // namespace realm::cuda::decode_detail

namespace realm::cuda {

template <CacheType kType>
Status attend_decode_of(Context& context, const AttentionArgs& args) {
  if (args.k_dim == 64) return decode_detail::launch_shape<kType, 64>(context, args);
  if (args.k_dim == 128) return decode_detail::launch_shape<kType, 128>(context, args);
  return decode_detail::launch_shape<kType, 256>(context, args);
}

}  // namespace realm::cuda
