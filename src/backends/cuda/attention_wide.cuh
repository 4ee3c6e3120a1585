// Attention in the shapes that the other kernels do not take: heads of any size up to 256, latent
// ones whose values are the first columns of the keys (up to 576 and 512; DeepSeek-AI 2024),
// slopes, both ways, many heads for one KV head. A block takes 64 rows, each a token and one of the
// query heads that share a KV head, and a part of their positions, 64 at a time: two groups of four
// warps have 32 of them each for the scores and half of the columns each for the values, and meet
// twice a tile, once for the rows' maxima and once for the weights, which go through shared memory.
// A warp beside them feeds them by the copy engine, or, of caches of Q8_0 and E4M3, four warps that
// widen (attention_widen.cuh). Parts are merged by a second kernel. Limited by the matrix units for
// many rows, by memory or by the widening for few.
#pragma once

#include <algorithm>

#include "backends/cuda/async.cuh"
#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_pages.cuh"
#include "backends/cuda/attention_widen.cuh"
#include "backends/cuda/features.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/tensor_map.cuh"
#include "backends/cuda/wgmma.cuh"

namespace realm::cuda::wide_detail {

constexpr int kRows = 64, kPositions = 64, kPagesOfTile = kPositions / kPageTokens;
constexpr int kConsumers = 256, kThreads = kConsumers + 128;
constexpr int kBoxBytes = 64 * 128;  // of 64 rows or positions, 64 columns
constexpr float kLog2e = 1.4426950408889634f, kLowest = -1e30f;

// Boxes of 64 columns of keys and values; latent values are no memory of their own.
template <CacheType kType_, int kKeyBoxes_, int kValueBoxes_, bool kLatent_, int kStages_>
struct Shape {
  static constexpr CacheType kType = kType_;
  static constexpr int kKeyBoxes = kKeyBoxes_, kValueBoxes = kValueBoxes_, kStages = kStages_;
  static constexpr bool kLatent = kLatent_;
  // Products are of bfloat16 or of half precision, which other types are widened to.
  static constexpr bool kBf16 = kType == CacheType::kBF16;
  static constexpr WgmmaType kWgmma = kBf16 ? WgmmaType::kBf16 : WgmmaType::kF16;
  static constexpr bool kWidens = kType == CacheType::kQ8_0 || kType == CacheType::kE4M3;
  static constexpr int kFeederRegisters = kWidens ? 136 : 40;
  static constexpr int kConsumerRegisters = kWidens ? 184 : 232;
  // A block has 168 a thread; to ask for more than all of those is to wait for ever.
  static_assert((kThreads - kConsumers) * kFeederRegisters + kConsumers * kConsumerRegisters <=
                168 * kThreads);
  // Boxes whose loads are on their way at a time, as registers go.
  static constexpr int kBoxesAtOnce = kLatent ? 3 : kType == CacheType::kE4M3 ? kKeyBoxes : 2;
  static constexpr int kValues =
      kLatent ? 0 : kKeyBoxes * kBoxBytes;  // where they begin in a stage
  static constexpr int kStageBytes = (kKeyBoxes + (kLatent ? 0 : kValueBoxes)) * kBoxBytes;
  static constexpr int kQueries = kStages * kStageBytes;
  static constexpr int kWeights = kQueries + kKeyBoxes * kBoxBytes;
  static constexpr int kSharedBytes = kWeights + kBoxBytes + 1024;
  static constexpr int kColumns = kValueBoxes * 32;  // of a group
};
template <CacheType kType>
using Latent = Shape<kType, 9, 8, true, 2>;
template <CacheType kType>
using Narrow = Shape<kType, 2, 2, false, 4>;
template <CacheType kType>
using Wide = Shape<kType, 4, 4, false, 2>;

// Partial results: of each part, token and head v_dim sums, the maximum as a power of two, and the
// total of weights.
struct Parts {
  float* rows;  // [count, tokens, heads, v_dim + 2]; null for one part
  int count;
};

// Adds them up (attention_wide.cu).
inline constexpr int kPartsMax = 256;
Status merge_parts(Context& context, const AttentionArgs& a, const Parts& parts);

// 64 rows of a sequence, and the tiles of positions that they see.
struct Work {
  int sequence, row, rows;     // rows count from the sequence's first
  int tile_begin, tile_count;  // of 64 positions
};

__device__ inline int lowest_position(const AttentionArgs& a, int token) {
  const int position = a.positions[token];
  int lowest = a.window > 0 ? max(0, position - static_cast<int>(a.window) + 1) : 0;
  if (a.oldest != nullptr) lowest = max(lowest, a.oldest[token]);
  return lowest;
}

__device__ inline Work work_of(const AttentionArgs& a, int sequence, int row) {
  Work work{sequence, row, 0, 0, 0};
  const int begin = a.seq_start[sequence], count = a.seq_start[sequence + 1] - begin;
  work.rows = min(kRows, count * a.heads_per_kv - row);
  const int first = begin + row / a.heads_per_kv;
  const int last = begin + (row + work.rows - 1) / a.heads_per_kv;
  work.tile_begin = lowest_position(a, first) / kPositions;
  work.tile_count = a.positions[last] / kPositions + 1 - work.tile_begin;
  return work;
}

// Blocks count tiles of rows through all sequences.
__device__ inline Work find_work(const AttentionArgs& a, int tile) {
  for (int s = 0; s < a.num_sequences; ++s) {
    const int rows = (a.seq_start[s + 1] - a.seq_start[s]) * a.heads_per_kv;
    const int tiles = (rows + kRows - 1) / kRows;
    if (tile < tiles) return work_of(a, s, tile * kRows);
    tile -= tiles;
  }
  return {-1, 0, 0, 0, 0};
}

__device__ inline int tiles_of_part(const Work& work, const Parts& parts) {
  return (work.tile_count + parts.count - 1) / parts.count;
}

template <typename S>
struct Barriers {
  uint64_t full[S::kStages], empty[S::kStages];
};

// The last page that a block's rows see.
__device__ inline int last_page_of(const AttentionArgs& a, const Work& work) {
  const int token = a.seq_start[work.sequence] + (work.row + work.rows - 1) / a.heads_per_kv;
  return a.positions[token] / kPageTokens;
}

template <typename S>
__device__ void feed(const AttentionArgs& a, const Work& work, int tile_end, int kv_head,
                     std::byte* stages, Barriers<S>* barriers, const CUtensorMap* k_map,
                     const CUtensorMap* v_map) {
  const int32_t* pages = a.page_table + work.sequence * a.max_pages;
  const int last_page = last_page_of(a, work);
  int stage = 0;
  uint32_t parity = 1;
  for (int tile = work.tile_begin; tile < tile_end; ++tile) {
    std::byte* const to = stages + stage * S::kStageBytes;
    barrier_wait(barriers->empty + stage, parity);
    barrier_expect(barriers->full + stage, S::kStageBytes);
    for (int i = 0; i < kPagesOfTile; ++i) {
      // Pages past the last one are masked; any page will do for them.
      const int64_t page = pages[min(tile * kPagesOfTile + i, last_page)];
      const auto row = [&](int64_t page_stride, int64_t head_stride, int64_t row_bytes) {
        return static_cast<int>((page * page_stride + kv_head * head_stride) / row_bytes);
      };
      const int k_row = row(a.k_page_stride, a.k_head_stride, a.k_token_stride);
      for (int box = 0; box < S::kKeyBoxes; ++box) {
        copy_box(to + box * kBoxBytes + i * kPageTokens * 128, k_map, 64 * box, k_row,
                 barriers->full + stage);
      }
      if constexpr (!S::kLatent) {
        const int v_row = row(a.v_page_stride, a.v_head_stride, a.v_token_stride);
        for (int box = 0; box < S::kValueBoxes; ++box) {
          copy_box(to + S::kValues + box * kBoxBytes + i * kPageTokens * 128, v_map, 64 * box,
                   v_row, barriers->full + stage);
        }
      }
    }
    if (++stage == S::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
}

// What four warps do instead where the cache has to be widened.
template <typename S>
__device__ void feed_widened(const AttentionArgs& a, const Work& work, int tile_end, int kv_head,
                             std::byte* stages, Barriers<S>* barriers) {
  static_assert(kWidenThreads == kThreads - kConsumers && kWidenRows == kPositions);
  const int32_t* pages = a.page_table + work.sequence * a.max_pages;
  const int last_page = last_page_of(a, work), thread = static_cast<int>(threadIdx.x);
  const int k_pieces = a.k_dim / 8, v_pieces = a.v_dim / 8;
  const int k_bytes = static_cast<int>(a.k_token_stride);
  const int v_bytes = static_cast<int>(a.v_token_stride);
  // Pages past the last one are masked; any page will do for them.
  const auto page_of = [&](int tile, int i) -> int64_t {
    return pages[min(tile * kPagesOfTile + i, last_page)];
  };
  const auto keys = [&](int64_t page) {
    return a.k_cache + page * a.k_page_stride + kv_head * a.k_head_stride;
  };
  const auto values = [&](int64_t page) {
    return a.v_cache + page * a.v_page_stride + kv_head * a.v_head_stride;
  };
  const auto ask = [&](int tile) {
    if (thread >= kPagesOfTile || tile >= tile_end) return;
    const int64_t page = page_of(tile, thread);
    ask_ahead(keys(page), kPageTokens * k_bytes);
    if constexpr (!S::kLatent) ask_ahead(values(page), kPageTokens * v_bytes);
  };
  ask(work.tile_begin);
  ask(work.tile_begin + 1);
  for (int stage = 0; stage < S::kStages; ++stage) {
    std::byte* const to = stages + stage * S::kStageBytes;
    clear_past(k_pieces, 8 * S::kKeyBoxes, thread, to);
    if constexpr (!S::kLatent) clear_past(v_pieces, 8 * S::kValueBoxes, thread, to + S::kValues);
  }
  int stage = 0;
  uint32_t parity = 1;
  for (int tile = work.tile_begin; tile < tile_end; ++tile) {
    std::byte* const to = stages + stage * S::kStageBytes;
    ask(tile + 2);
    const int64_t first = page_of(tile, 0), second = page_of(tile, 1);
    barrier_wait(barriers->empty + stage, parity);
    widen_tile<S::kType, S::kBoxesAtOnce>({keys(first), keys(second)}, k_bytes, k_pieces, thread,
                                          to);
    if constexpr (!S::kLatent) {
      widen_tile<S::kType, S::kBoxesAtOnce>({values(first), values(second)}, v_bytes, v_pieces,
                                            thread, to + S::kValues);
    }
    fence_shared();
    barrier_arrive(barriers->full + stage);
    if (++stage == S::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
}

// A thread's two of the rows.
struct RowState {
  int position[2], lowest[2];  // a row that is not there sees nothing
  float slope[2], max[2], sum[2];
};

__device__ inline int head_of(const AttentionArgs& a, int kv_head, int row) {
  return kv_head * a.heads_per_kv + row % a.heads_per_kv;
}

__device__ inline RowState begin_rows(const AttentionArgs& a, const Work& work, int kv_head,
                                      int row0) {
  RowState state;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = row0 + 8 * r;
    const bool there = row < work.rows;
    const int token = a.seq_start[work.sequence] + (work.row + row) / a.heads_per_kv;
    state.position[r] = there ? a.positions[token] : -1;
    state.lowest[r] = there ? lowest_position(a, token) : 0;
    state.slope[r] = there && a.slopes != nullptr
                         ? kLog2e * a.slopes[head_of(a, kv_head, work.row + row)]
                         : 0.0f;
    state.max[r] = kLowest;
    state.sum[r] = 0.0f;
  }
  return state;
}

// The block's queries to shared memory, swizzled as the copy engine does it; zeros past the end.
template <typename S>
__device__ void store_queries(const AttentionArgs& a, const Work& work, int kv_head,
                              std::byte* queries) {
  const int warp = static_cast<int>(threadIdx.x) / 32 - 4,
            lane = static_cast<int>(threadIdx.x) % 32;
  for (int row = warp; row < kRows; row += kConsumers / 32) {
    const int64_t token = a.seq_start[work.sequence] + (work.row + row) / a.heads_per_kv;
    const std::byte* from =
        a.q + token * a.q_token_stride + head_of(a, kv_head, work.row + row) * a.q_head_stride;
#pragma unroll
    for (int box = 0; box < S::kKeyBoxes; ++box) {
      const int column = 64 * box + 2 * lane;
      float2 pair{0.0f, 0.0f};
      if (row < work.rows && column < a.k_dim) {
        pair = *reinterpret_cast<const float2*>(from + column * 4);
      }
      *reinterpret_cast<uint32_t*>(queries + box * kBoxBytes + row * 128 +
                                   ((lane / 4) ^ (row % 8)) * 16 + lane % 4 * 4) =
          pack_pair<S::kBf16>(pair.x, pair.y);
    }
  }
}

// Products to scores in powers of two; the rows' maxima among them.
__device__ inline void score(const AttentionArgs& a, const RowState& state, int begin, int lane,
                             float (&scores)[16], float (&most)[2]) {
  most[0] = most[1] = kLowest;
  const float scale = a.soft_cap > 0.0f ? a.scale : a.scale * kLog2e;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const int r = i % 4 / 2, position = begin + i / 4 * 8 + 2 * (lane % 4) + i % 2;
    float x = scores[i] * scale;
    if (a.soft_cap > 0.0f) x = kLog2e * cap_score(x, a.soft_cap);
    x += state.slope[r] * static_cast<float>(position - state.position[r]);
    const bool seen = position <= state.position[r] && position >= state.lowest[r];
    scores[i] = seen ? x : -INFINITY;
    most[r] = fmaxf(most[r], scores[i]);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 1));
    most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 2));
  }
}

// What two threads of the groups, which have the same rows, have of them both.
struct Exchange {
  float values[2][2][kRows];  // in turn, of each group

  __device__ void give(int turn, int group, int row0, int lane, const float (&mine)[2]) {
    if (lane % 4 != 0) return;
    values[turn][group][row0] = mine[0];
    values[turn][group][row0 + 8] = mine[1];
  }
};

template <typename S>
__device__ void write_rows(const AttentionArgs& a, const Work& work, const Parts& parts,
                           int kv_head, int row0, int group, int lane, const RowState& state,
                           const float (&out)[S::kColumns / 2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = row0 + 8 * r;
    if (row >= work.rows) continue;
    const int head = head_of(a, kv_head, work.row + row);
    const int64_t token = a.seq_start[work.sequence] + (work.row + row) / a.heads_per_kv;
    const int64_t at = token * a.heads + head;
    float* to = a.out + at * a.v_dim;
    float factor = 1.0f;
    if (parts.rows != nullptr) {
      to = parts.rows + (blockIdx.y * a.num_tokens * a.heads + at) * (a.v_dim + 2);
      if (group == 0 && lane % 4 == 0) {
        to[a.v_dim] = state.max[r];
        to[a.v_dim + 1] = state.sum[r];
      }
    } else {
      float max = state.max[r], total = state.sum[r];
      if (a.sinks != nullptr) {
        const float sink = kLog2e * a.sinks[head];
        max = fmaxf(max, sink);
        total = total * power_of_two(state.max[r] - max) + power_of_two(sink - max);
      }
      factor = power_of_two(state.max[r] - max) / total;
    }
#pragma unroll
    for (int i = 0; i < S::kColumns / 8; ++i) {
      const int column = group * S::kColumns + 8 * i + 2 * (lane % 4);
      if (column >= a.v_dim) continue;
      to[column] = out[4 * i + 2 * r] * factor;
      if (column + 1 < a.v_dim) to[column + 1] = out[4 * i + 2 * r + 1] * factor;
    }
  }
}

template <typename S>
__device__ void consume(const AttentionArgs& a, const Work& work, const Parts& parts, int tile_end,
                        int kv_head, int warp, int lane, std::byte* stages, Barriers<S>* barriers,
                        Exchange* exchange) {
  const int group = warp / 4, row0 = warp % 4 * 16 + lane / 4;
  std::byte* const weights = stages + S::kWeights;
  store_queries<S>(a, work, kv_head, stages + S::kQueries);
  RowState state = begin_rows(a, work, kv_head, row0);
  fence_shared();
  meet(1, kConsumers);
  const uint32_t queries = shared_address(stages + S::kQueries);
  float out[S::kColumns / 2];
#pragma unroll
  for (int i = 0; i < S::kColumns / 2; ++i) out[i] = 0.0f;
  int stage = 0, turn = 0;
  uint32_t parity = 0;
  for (int tile = work.tile_begin; tile < tile_end; ++tile) {
    const uint32_t keys = shared_address(stages + stage * S::kStageBytes);
    float scores[16], most[2];
    barrier_wait(barriers->full + stage, parity);
    wgmma_fence();
#pragma unroll
    for (int d = 0; d < 4 * S::kKeyBoxes; ++d) {
      const uint64_t x = swizzled_descriptor(queries + d / 4 * kBoxBytes) + 2 * (d % 4);
      const uint64_t k =
          swizzled_descriptor(keys + d / 4 * kBoxBytes + group * 32 * 128) + 2 * (d % 4);
      if (d == 0) {
        Wgmma<32, S::kWgmma>::first(scores, x, k);
      } else {
        Wgmma<32, S::kWgmma>::run(scores, x, k);
      }
    }
    wgmma_commit();
    wgmma_wait<0>();
    hold(scores);
    score(a, state, tile * kPositions + group * 32, lane, scores, most);
    exchange->give(turn, group, row0, lane, most);
    meet(1, kConsumers);  // both groups are done with the weights of the tile before, too
    float shrink[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float other = exchange->values[turn][group ^ 1][row0 + 8 * r];
      const float max = fmaxf(state.max[r], fmaxf(most[r], other));
      shrink[r] = power_of_two(state.max[r] - max);
      state.max[r] = max;
      state.sum[r] *= shrink[r];
    }
    turn ^= 1;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      scores[i] = power_of_two(scores[i] - state.max[i % 4 / 2]);
      state.sum[i % 4 / 2] += scores[i];
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = row0 + 8 * (i % 2), piece = 4 * group + i / 2;
      *reinterpret_cast<uint32_t*>(weights + row * 128 + (piece ^ (row % 8)) * 16 + lane % 4 * 4) =
          pack_pair<S::kBf16>(scores[2 * i], scores[2 * i + 1]);
    }
#pragma unroll
    for (int i = 0; i < S::kColumns / 2; ++i) out[i] *= shrink[i % 4 / 2];
    fence_shared();
    meet(1, kConsumers);
    const uint32_t values = keys + S::kValues + group * (S::kValueBoxes / 2) * kBoxBytes;
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kPositions / 16; ++i) {
      Wgmma<S::kColumns, S::kWgmma, true>::run(
          out, swizzled_descriptor(shared_address(weights)) + 2 * i,
          swizzled_descriptor_transposed(values + i * 16 * 128, kBoxBytes));
    }
    wgmma_commit();
    wgmma_wait<0>();
    hold(out);
    if (lane == 0) barrier_arrive(barriers->empty + stage);
    if (++stage == S::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    state.sum[r] += __shfl_xor_sync(0xffffffffu, state.sum[r], 1);
    state.sum[r] += __shfl_xor_sync(0xffffffffu, state.sum[r], 2);
  }
  exchange->give(turn, group, row0, lane, state.sum);
  meet(1, kConsumers);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    // In one order for both groups.
    state.sum[r] =
        exchange->values[turn][0][row0 + 8 * r] + exchange->values[turn][1][row0 + 8 * r];
  }
  write_rows<S>(a, work, parts, kv_head, row0, group, lane, state, out);
}

template <typename S>
__device__ __forceinline__ void attend_block(const AttentionArgs& a, const Parts& parts,
                                             const CUtensorMap& k_map, const CUtensorMap& v_map) {
  extern __shared__ std::byte shared[];
  __shared__ Work shared_work;
  __shared__ Barriers<S> barriers;
  __shared__ Exchange exchange;
  std::byte* const stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
  may_start_next();
  wait_for_inputs();
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::kStages; ++i) {
      barrier_init(barriers.full + i, S::kWidens ? kWidenThreads : 1);
      barrier_init(barriers.empty + i, kConsumers / 32);
    }
    fence_barrier_init();
    shared_work = find_work(a, static_cast<int>(blockIdx.x));
  }
  __syncthreads();
  Work work = shared_work;
  if (work.sequence < 0) return;
  const int tiles = tiles_of_part(work, parts), begin = static_cast<int>(blockIdx.y) * tiles;
  if (begin >= work.tile_count) return;
  const int tile_end = work.tile_begin + min(begin + tiles, work.tile_count);
  work.tile_begin += begin;
  // The same in all lanes, which the compiler is to know: descriptors need uniform registers.
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = static_cast<int>(threadIdx.x) % 32, kv_head = static_cast<int>(blockIdx.z);
  if (warp < 4) {
    give_registers<S::kFeederRegisters>();
    if constexpr (S::kWidens) {
      feed_widened<S>(a, work, tile_end, kv_head, stages, &barriers);
    } else {
      if (threadIdx.x == 0) feed<S>(a, work, tile_end, kv_head, stages, &barriers, &k_map, &v_map);
    }
    return;
  }
  take_registers<S::kConsumerRegisters>();
  consume<S>(a, work, parts, tile_end, kv_head, warp - 4, lane, stages, &barriers, &exchange);
}

template <typename S>
__global__ void __launch_bounds__(kThreads, 1)
    attend(const AttentionArgs a, const Parts parts, const __grid_constant__ CUtensorMap k_map,
           const __grid_constant__ CUtensorMap v_map) {
  if constexpr (REALM_WGMMA) attend_block<S>(a, parts, k_map, v_map);
}

template <typename S>
Status launch_shape(Context& context, const AttentionArgs& a) {
  static const cudaError_t configured =
      cudaFuncSetAttribute(attend<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes);
  TRY(check(configured, "attention: shared memory"));
  CUtensorMap k_map{}, v_map{};
  if constexpr (!S::kWidens) {
    const auto map = [&](const std::byte* cache, int columns, int64_t page_stride,
                         int64_t row_bytes) {
      return map_rows(CU_TENSOR_MAP_DATA_TYPE_UINT16, cache, columns,
                      a.num_pages * page_stride / row_bytes, row_bytes, kPageTokens);
    };
    k_map = TRY(map(a.k_cache, a.k_dim, a.k_page_stride, a.k_token_stride));
    v_map = S::kLatent ? k_map : TRY(map(a.v_cache, a.v_dim, a.v_page_stride, a.v_token_stride));
  }
  // As many tiles as there can be, whatever the sequences' shares.
  const int64_t tiles = a.num_tokens * a.heads_per_kv / kRows + a.num_sequences;
  // One part where results may not depend on the batch: how many there are does.
  const int64_t most = (a.max_pages * kPageTokens + kPositions - 1) / kPositions;  // of tiles
  Parts parts{nullptr, 1};
  if (!context.batch_invariant) {
    const int64_t wanted = std::min(context.num_sms / (tiles * a.kv_heads), (most + 1) / 2);
    parts.count = static_cast<int>(std::clamp<int64_t>(wanted, 1, kPartsMax));
  }
  if (parts.count > 1) {
    const auto floats = static_cast<size_t>(parts.count * a.num_tokens * a.heads * (a.v_dim + 2));
    parts.rows = reinterpret_cast<float*>(TRY(context.partials.get(floats * sizeof(float))));
  }
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(parts.count),
                  static_cast<unsigned>(a.kv_heads));
  TRY(cuda::launch("attention", attend<S>, grid, kThreads, S::kSharedBytes, context.stream, a,
                   parts, k_map, v_map));
  return parts.count == 1 ? Status{} : merge_parts(context, a, parts);
}

}  // namespace realm::cuda::wide_detail

namespace realm::cuda {

// Latent values are the first columns of the keys.
template <CacheType kType>
Status attend_wide_of(Context& context, const AttentionArgs& a) {
  using namespace wide_detail;
  if (a.k_cache == a.v_cache) return launch_shape<Latent<kType>>(context, a);
  return a.k_dim <= 128 && a.v_dim <= 128 ? launch_shape<Narrow<kType>>(context, a)
                                          : launch_shape<Wide<kType>>(context, a);
}

}  // namespace realm::cuda
