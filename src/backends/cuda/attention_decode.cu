// Attention of one token per sequence over an F16 cache: decode. The pages of all sequences stand
// in one line, which for each KV head is cut evenly among blocks that stay, so that sequences of
// any lengths keep every multiprocessor busy. A block's warps take its pages in turn; they come
// through rings in shared memory, filled ahead across the line (by the copy engine on Hopper), so
// that the memory is busy while results are merged. Pages are multiplied by mma.m16n8k16, whose 16
// rows are positions, or elements of values, and whose 8 columns are query heads that share the KV
// head. Where a KV head of a sequence is shared by several blocks, the last that finishes merges
// their results in a fixed order. Bytes moved: every key and value once. Limited by memory
// bandwidth. Pages that sequences have in common are read once for all of them by another kernel
// (attention_shared.cuh), whose shares are merged with the others.
#include <cuda_fp16.h>

#include <algorithm>

#include "backends/cuda/async.cuh"
#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_line.cuh"
#include "backends/cuda/attention_shared.cuh"
#include "backends/cuda/features.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/reduce.cuh"
#include "backends/cuda/tensor_map.cuh"

namespace realm::cuda {
namespace {

constexpr int kHeads = 8, kPage = kPageTokens;

// How a page's keys, or values, lie in shared memory: boxes of 64 columns.
template <int kDim>
struct Page {
  static constexpr int kRowBytes = kDim * 2;
  static constexpr int kBoxBytes = kPage * 128;
  static constexpr int kBytes = kDim / 64 * kBoxBytes;
  // As the copy engine swizzles them: pieces of 16 bytes at place (piece ^ row % 8) of a box's row,
  // so that eight rows of one column lie in different banks.
  static __device__ uint32_t at(int row, int piece) {
    return static_cast<uint32_t>(piece / 8 * kBoxBytes + row * 128 + (piece % 8 ^ row % 8) * 16);
  }
};

// How a warp's pages come: by Hopper's copy engine, which one lane asks for a page, or 16 bytes by
// 16 by all lanes. There is an object for each warp.
template <int kDim>
struct EngineFetch {
  // 128 KB on their way, where two pages a warp would do with half of the warps, too.
  static constexpr int kWarps = kDim <= 128 ? 8 : 4, kStages = kDim <= 64 ? 2 : 1;
  static constexpr bool kHere = REALM_WGMMA != 0;
  struct Maps {
    CUtensorMap k, v;
  };
  const Maps& maps;
  uint64_t* barriers;  // [kStages]
  uint32_t parity = 0;

  __device__ EngineFetch(const Maps& of_launch, int warp, int lane) : maps(of_launch) {
    __shared__ uint64_t of_warps[kWarps][kStages];
    barriers = of_warps[warp];
    if (lane == 0) {
      prefetch_map(&maps.k);
      prefetch_map(&maps.v);
#pragma unroll
      for (int s = 0; s < kStages; ++s) barrier_init(barriers + s, 1);
      fence_barrier_init();
    }
  }
  __device__ void ask(const AttentionArgs& a, int64_t page, int head, std::byte* to, int stage,
                      int lane) {
    if (lane != 0) return;
    using P = Page<kDim>;
    const auto row = [&](int64_t page_stride, int64_t head_stride) {
      return static_cast<int>((page * page_stride + head * head_stride) / P::kRowBytes);
    };
    const int k_row = row(a.k_page_stride, a.k_head_stride);
    const int v_row = row(a.v_page_stride, a.v_head_stride);
    uint64_t* const barrier = barriers + stage;
    barrier_expect(barrier, 2 * P::kBytes);
#pragma unroll
    for (int c = 0; c < kDim / 64; ++c) {
      copy_box(to + c * P::kBoxBytes, &maps.k, 64 * c, k_row, barrier);
    }
#pragma unroll
    for (int c = 0; c < kDim / 64; ++c) {
      copy_box(to + P::kBytes + c * P::kBoxBytes, &maps.v, 64 * c, v_row, barrier);
    }
  }
  __device__ void ask_nothing() {}
  __device__ void wait(int stage) {
    barrier_wait(barriers + stage, parity);
    if (stage == kStages - 1) parity ^= 1;
  }
};

template <int kDim>
struct LaneFetch {
  // Of these 64 KB are on their way: more than 99 KB a block cannot have everywhere.
  static constexpr int kWarps = kDim <= 128 ? 4 : 2, kStages = kDim <= 64 ? 2 : 1;
  static constexpr bool kHere = REALM_MMA != 0;
  struct Maps {};

  __device__ LaneFetch(const Maps&, int, int) {}
  __device__ void ask(const AttentionArgs& a, int64_t page, int head, std::byte* to, int,
                      int lane) {
    using P = Page<kDim>;
    constexpr int kPieces = P::kRowBytes / 16;
    const std::byte* k = a.k_cache + page * a.k_page_stride + head * a.k_head_stride;
    const std::byte* v = a.v_cache + page * a.v_page_stride + head * a.v_head_stride;
    const uint32_t at = shared_address(to);
#pragma unroll
    for (int i = 0; i < kPage * kPieces / 32; ++i) {
      const int row = (32 * i + lane) / kPieces, piece = (32 * i + lane) % kPieces;
      const uint32_t place = at + P::at(row, piece);
      copy_16(place, k + row * P::kRowBytes + piece * 16);
      copy_16(place + P::kBytes, v + row * P::kRowBytes + piece * 16);
    }
    commit_copies();
  }
  // Each page is a group of copies; they are counted.
  __device__ void ask_nothing() {
    commit_copies();
  }
  __device__ void wait(int) {
    wait_for_copies<kStages - 1>();
    __syncwarp();
  }
};

template <int kDim, typename Fetch>
struct Ring {
  static constexpr int kWarps = Fetch::kWarps, kThreads = 32 * kWarps, kStages = Fetch::kStages;
  static constexpr int kStageBytes = 2 * Page<kDim>::kBytes;
  static constexpr int kWarpBytes = kStages * kStageBytes;
  static constexpr int kBytes = kWarps * kWarpBytes;
  // Of a launch: room to align, the ring, the rows to merge, the sequences' ends.
  static size_t shared_bytes(int heads_per_kv, int num_sequences) {
    return static_cast<size_t>(1024 + kBytes +
                               (kWarps * heads_per_kv * (kDim + 2) + num_sequences) * 4);
  }
};

// Scores of a page: of positions 16 m + g and 16 m + g + 8 with heads 2 t and 2 t + 1 of each tile.
template <int kDim, int kTiles>
__device__ void page_scores(const uint32_t (&q)[kTiles][kDim / 16][2], uint32_t k_page, int lane,
                            float (&scores)[kTiles][2][4]) {
  using P = Page<kDim>;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][m][i] = 0.0f;
    }
  }
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      uint32_t k[4];
      load_matrices(k, k_page + P::at(16 * m + lane % 16, 2 * d + lane / 16));
#pragma unroll
      for (int n = 0; n < kTiles; ++n) mma_f16(scores[n][m], k, q[n][d][0], q[n][d][1]);
    }
  }
}

// Folds a page into the state. Positions outside [first, last] count nothing.
template <int kDim, int kTiles>
__device__ void fold_page(const AttentionArgs& a, State<kDim, kTiles>& state,
                          float (&scores)[kTiles][2][4], int begin, int first, int last,
                          uint32_t v_page, int lane) {
  using P = Page<kDim>;
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
      const int position = begin + 16 * (i / 4) + 8 * (i % 4 / 2) + lane / 4;
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
        p[n][m][r] = transpose_matrix(pack_half(scores[n][m][2 * r], scores[n][m][2 * r + 1]));
      }
    }
  }
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      uint32_t v[4];
      load_matrices_transposed(
          v, v_page + P::at(16 * m + lane % 8 + lane / 16 * 8, 2 * d + lane / 8 % 2));
#pragma unroll
      for (int n = 0; n < kTiles; ++n) mma_f16(state.out[n][d], v, p[n][m][0], p[n][m][1]);
    }
  }
}

// The query heads as operands, scaled; heads past the group are zero.
template <int kDim, int kTiles>
__device__ void load_queries(const AttentionArgs& a, int64_t token, int kv_head, int lane,
                             uint32_t (&q)[kTiles][kDim / 16][2]) {
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
          pair = *reinterpret_cast<const float2*>(from + (16 * d + 2 * (lane % 4) + 8 * i) * 4);
        }
        q[n][d][i] = pack_half(pair.x * scale, pair.y * scale);
      }
    }
  }
}

// A warp's state as rows of [heads_per_kv, dim + 2]: sums, maximum, total.
template <int kDim, int kTiles>
__device__ void write_state(const AttentionArgs& a, const State<kDim, kTiles>& state, int lane,
                            float* rows) {
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
        to[16 * d + lane / 4] = state.out[n][d][i];
        to[16 * d + lane / 4 + 8] = state.out[n][d][2 + i];
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
template <int kDim, int kTiles, bool kShared, typename Fetch>
__device__ __forceinline__ void attend_line(const AttentionArgs& a, const Partials& partials,
                                            const SharedPartials& shared_partials,
                                            const typename Fetch::Maps& maps) {
  using R = Ring<kDim, Fetch>;
  constexpr int kShare = kDim + 2, kWarps = R::kWarps;
  extern __shared__ std::byte shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  std::byte* const stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
  std::byte* const ring = stages + warp * R::kWarpBytes;
  auto* const rows = reinterpret_cast<float*>(stages + R::kBytes);
  int* const ends = reinterpret_cast<int*>(rows + kWarps * a.heads_per_kv * kShare);
  may_start_next();
  Fetch pages(maps, warp, lane);
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
    if (fetch_at >= end) {
      pages.ask_nothing();
      return;
    }
    pages.ask(a, fetch_number, kv_head, ring + s * R::kStageBytes, s, lane);
    fetch_at += kWarps;
    find_number();
  };
  find_number();
#pragma unroll
  for (int s = 0; s < R::kStages; ++s) fetch(s);

  int at = begin + warp, stage = 0;
  GivenShares<kShared> given;
  for (; place.begin < end; place.next(ends, num_sequences)) {
    const int64_t token = place.sequence;  // one token a sequence
    // Asked for ahead, except by the first, which may have something to do before they are there.
    if (kShared && given.sequence >= 0) given.find(a, shared_partials, place.sequence);
    const int last = a.positions[token], first = first_position(a, last);
    const int page_begin = kShared ? first_page<kShared>(a, place.sequence) : first / kPage;
    uint32_t q[kTiles][kDim / 16][2];
    load_queries<kDim, kTiles>(a, token, kv_head, lane, q);
    State<kDim, kTiles> state;
    state.clear();
    const int place_end = min(place.end, end);
    for (; at < place_end; at += kWarps) {
      pages.wait(stage);
      const uint32_t page = shared_address(ring + stage * R::kStageBytes);
      float scores[kTiles][2][4];
      page_scores<kDim, kTiles>(q, page, lane, scores);
      fold_page<kDim, kTiles>(a, state, scores, (page_begin + at - place.begin) * kPage, first,
                              last, page + Page<kDim>::kBytes, lane);
      __syncwarp();
      fetch(stage);
      if (++stage == R::kStages) stage = 0;
    }

    __syncthreads();  // the rows of the sequence before have been read
    write_state<kDim, kTiles>(a, state, lane, rows + warp * a.heads_per_kv * kShare);
    __syncthreads();
    finish_sequence<kDim, kWarps, kShared>(a, partials, shared_partials, given, place, cut, begin,
                                           end, kv_head, warp, rows);
  }
}

template <int kDim, int kTiles, bool kShared, typename Fetch>
__global__ void __launch_bounds__(Ring<kDim, Fetch>::kThreads)
    decode(const AttentionArgs a, const Partials partials, const SharedPartials shared_partials,
           const __grid_constant__ typename Fetch::Maps maps) {
  if constexpr (Fetch::kHere) {
    attend_line<kDim, kTiles, kShared, Fetch>(a, partials, shared_partials, maps);
  }
}

template <int kDim, int kTiles, bool kShared, typename Fetch>
Status launch_tiles(Context& context, const AttentionArgs& args, const typename Fetch::Maps& maps) {
  using R = Ring<kDim, Fetch>;
  const auto kernel = decode<kDim, kTiles, kShared, Fetch>;
  static const cudaError_t configured = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, context.shared_max - 512);
  TRY(check(configured, "attention: shared memory"));
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
      TRY(attend_shared(context, part, shared_partials, launch.shared_parts));
    }
    const dim3 grid(static_cast<unsigned>(args.kv_heads), static_cast<unsigned>(launch.parts));
    TRY(cuda::launch("attention", kernel, grid, R::kThreads,
                     R::shared_bytes(part.heads_per_kv, part.num_sequences), context.stream, part,
                     partials, shared_partials, maps));
  }
  return {};
}

template <int kDim, typename Fetch, bool kShared = false>
Status launch_with(Context& context, const AttentionArgs& args, const typename Fetch::Maps& maps) {
  return args.heads_per_kv <= kHeads ? launch_tiles<kDim, 1, kShared, Fetch>(context, args, maps)
                                     : launch_tiles<kDim, 2, kShared, Fetch>(context, args, maps);
}

template <int kDim>
Status launch(Context& context, const AttentionArgs& args) {
  if (!context.has_wgmma) return launch_with<kDim, LaneFetch<kDim>>(context, args, {});
  constexpr int64_t kRowBytes = Page<kDim>::kRowBytes;
  const auto map = [&](const std::byte* cache, int64_t page_stride) {
    return map_rows(CU_TENSOR_MAP_DATA_TYPE_FLOAT16, cache, kDim,
                    args.num_pages * page_stride / kRowBytes, kRowBytes, kPage);
  };
  const typename EngineFetch<kDim>::Maps maps{.k = TRY(map(args.k_cache, args.k_page_stride)),
                                              .v = TRY(map(args.v_cache, args.v_page_stride))};
  if constexpr (kDim <= kSharedDimMax) {
    if (args.shared != nullptr && can_share_pages(context, args)) {
      return launch_with<kDim, EngineFetch<kDim>, true>(context, args, maps);
    }
  }
  return launch_with<kDim, EngineFetch<kDim>>(context, args, maps);
}

// What a block's launch may take at most, in shared memory.
template <int kDim>
size_t most_shared_bytes(const Context& context, int heads_per_kv) {
  return context.has_wgmma ? Ring<kDim, EngineFetch<kDim>>::shared_bytes(heads_per_kv, kSequences)
                           : Ring<kDim, LaneFetch<kDim>>::shared_bytes(heads_per_kv, kSequences);
}

bool fits_in_shared(const Context& context, const AttentionArgs& a) {
  const size_t most = a.k_dim == 64    ? most_shared_bytes<64>(context, a.heads_per_kv)
                      : a.k_dim == 128 ? most_shared_bytes<128>(context, a.heads_per_kv)
                                       : most_shared_bytes<256>(context, a.heads_per_kv);
  return most <= static_cast<size_t>(context.shared_max - 512);
}

}  // namespace

bool can_attend_decode(const Context& context, const AttentionArgs& a) {
  const int64_t row_bytes = a.k_dim * 2;
  return a.num_tokens == a.num_sequences && a.cache_type == DType::kF16 && a.slopes == nullptr &&
         a.oldest == nullptr && a.k_dim == a.v_dim && a.k_cache != a.v_cache &&
         (a.k_dim == 64 || a.k_dim == 128 || a.k_dim == 256) && a.heads_per_kv <= 2 * kHeads &&
         a.q_token_stride % 8 == 0 && a.q_head_stride % 8 == 0 && a.k_token_stride == row_bytes &&
         a.v_token_stride == row_bytes && kSequences * a.kv_heads <= Context::kCounters &&
         fits_in_shared(context, a);
}

Status attend_decode(Context& context, const AttentionArgs& args) {
  if (args.k_dim == 64) return launch<64>(context, args);
  if (args.k_dim == 128) return launch<128>(context, args);
  return launch<256>(context, args);
}

}  // namespace realm::cuda
