// The product of few tokens with one of many matrices each: decode of mixtures of experts. As in
// matvec.cuh blocks stay and take tiles of 16 weight rows in turn, with units of weights on their
// way across tiles; here a tile is one of an expert that some token has chosen, and the columns of
// the matrix instruction are the pairs that chose it, eight at most, so that each expert's weights
// are read once. Every block finds these groups by itself, and has the activations in shared
// memory, which it rounds to bfloat16 itself where they fit. Limited by memory bandwidth, for one
// token by the latency of a start and an end.
#pragma once

#include "backends/cuda/experts.cuh"
#include "backends/cuda/matvec.cuh"

namespace realm::cuda {

// The pairs of each chosen expert; in shared memory.
struct ExpertGroups {
  int ids[kFewPairs];
  int16_t group_of[kFewPairs];  // of the first pair of each
  int16_t experts[kFewPairs], counts[kFewPairs];
  int16_t pairs[kFewPairs][Context::kFewTokens];
  int warp_counts[kMatVecWarps];
  int count;

  // Pairs of one expert are its groups; a thread looks after one pair. All threads of a block.
  __device__ void find(const ExpertProduct& p) {
    static_assert(kFewPairs == 32 * kMatVecWarps);
    const int pair = static_cast<int>(threadIdx.x), lane = pair % 32, warp = pair / 32;
    const bool there = pair < p.pairs();
    const int expert = there ? p.expert_of(pair) : -1;
    ids[pair] = expert;
    __syncthreads();
    int first = pair, before = 0, same = 0;
    for (int i = 0; there && i < p.pairs(); ++i) {
      if (ids[i] != expert) continue;
      if (same++ == 0) first = i;
      before += i < pair;
    }
    const bool leads = there && first == pair;
    const unsigned leaders = __ballot_sync(0xffffffffu, leads);
    if (lane == 0) warp_counts[warp] = __popc(leaders);
    __syncthreads();
    int group = __popc(leaders & ((1u << lane) - 1));
    for (int w = 0; w < warp; ++w) group += warp_counts[w];
    if (leads) {
      group_of[pair] = static_cast<int16_t>(group);
      experts[group] = static_cast<int16_t>(expert);
      counts[group] = static_cast<int16_t>(min(same, Context::kFewTokens));
    }
    if (pair == 0) {
      count = 0;
      for (const int n : warp_counts) count += n;
    }
    __syncthreads();
    if (there && before < Context::kFewTokens) {
      pairs[group_of[first]][before] = static_cast<int16_t>(pair);
    }
    __syncthreads();
  }
};

// Rows of x into shared memory, as bfloat16 [rows, k_padded].
__device__ inline void share_rows(const ExpertProduct& p, uint4* to) {
  const int rows = p.x_of_pairs ? p.pairs() : p.tokens;
  const int row_pieces = static_cast<int>(p.k_padded / 8), pieces = rows * row_pieces;
  if (p.x16 != nullptr) {
    const auto* from = reinterpret_cast<const uint4*>(p.x16);
    for (int i = static_cast<int>(threadIdx.x); i < pieces; i += 32 * kMatVecWarps) to[i] = from[i];
    return;
  }
  for (int i = static_cast<int>(threadIdx.x); i < pieces; i += 32 * kMatVecWarps) {
    const int row = i / row_pieces, column = 8 * (i % row_pieces);
    const float* from = p.x_row(p.x_of_pairs ? row : row * p.slots) + column;
    float v[8];
    if (column + 8 <= p.k && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
      *reinterpret_cast<float4*>(v) = *reinterpret_cast<const float4*>(from);
      *reinterpret_cast<float4*>(v + 4) = *reinterpret_cast<const float4*>(from + 4);
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) v[j] = column + j < p.k ? from[j] : 0.0f;
    }
    to[i] = {pack_pair(v[0], v[1]), pack_pair(v[2], v[3]), pack_pair(v[4], v[5]),
             pack_pair(v[6], v[7])};
  }
}

template <typename Format, bool kGated, bool kSharedX>
__global__ void __launch_bounds__(32 * kMatVecWarps, 2) expert_matvec(const ExpertProduct p) {
  extern __shared__ uint4 shared_x[];
  using Raw = typename Format::Raw;
  constexpr int kDepth = Format::kDepth, kParts = kGated ? 2 : 1;
  constexpr int64_t kStep = int64_t{kMatVecWarps / 2} * Format::kBytes;
  __shared__ float partial[2][kMatVecWarps][kParts][4][32];
  __shared__ ExpertGroups groups;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int half = warp % 2;
  share_table<Format>();
  may_start_next();
  wait_for_inputs();
  if (p.ids != nullptr) groups.find(p);
  // Without ids a group is a slot.
  const int num_groups = p.ids != nullptr ? groups.count : p.slots;
  const auto expert_at = [&](int group) {
    return p.ids != nullptr ? static_cast<int>(groups.experts[group]) : group;
  };
  const auto count_of = [&](int group) {
    return p.ids != nullptr ? static_cast<int>(groups.counts[group]) : p.tokens;
  };
  const auto pair_at = [&](int group, int i) {
    return p.ids != nullptr ? static_cast<int>(groups.pairs[group][i]) : i * p.slots + group;
  };
  const int group_tiles = kGated ? p.row_tiles : p.num_parts * p.row_tiles;
  const int num_tiles = num_groups * group_tiles;
  const int num_units = (2 * p.weight.num_tiles - warp + kMatVecWarps - 1) / kMatVecWarps;

  // What comes next from memory.
  int fetch_tile = static_cast<int>(blockIdx.x), fetch_part = 0, fetch_left = num_units;
  const auto start_of = [&](int tile, int part) {
    const int group = tile / group_tiles, row_tile = tile % group_tiles;
    const bool second = !kGated && row_tile >= p.row_tiles;
    const int64_t first = (row_tile - (second ? p.row_tiles : 0)) * int64_t{p.weight.num_tiles};
    return p.parts[second ? 1 : part].weight + expert_at(group) * p.expert_bytes +
           (first + warp / 2) * Format::kBytes;
  };
  const uint8_t* from = num_units > 0 && fetch_tile < num_tiles ? start_of(fetch_tile, 0) : nullptr;
  Raw raw[kDepth];
  const auto fetch = [&](Raw& to) {
    if (fetch_tile >= num_tiles || num_units <= 0) return;
    to = Format::load(from, half, lane);
    from += kStep;
    if (--fetch_left > 0) return;
    fetch_left = num_units;
    if (++fetch_part == kParts) {
      fetch_part = 0;
      fetch_tile += static_cast<int>(gridDim.x);
    }
    if (fetch_tile < num_tiles) from = start_of(fetch_tile, fetch_part);
  };
#pragma unroll
  for (int d = 0; d < kDepth; ++d) fetch(raw[d]);

  const __nv_bfloat16* x_base = p.x16;
  if constexpr (kSharedX) {
    share_rows(p, shared_x);
    __syncthreads();
    x_base = reinterpret_cast<const __nv_bfloat16*>(shared_x);
  }
  float acc[kParts][1][4] = {};
  int tile = static_cast<int>(blockIdx.x), part = 0, left = num_units, buffer = 0;
  const __nv_bfloat16* x = nullptr;
  // Lanes of pairs that are not there work on the last one's copy; nothing reads their sums.
  const auto start_x = [&] {
    if (tile >= num_tiles) return;
    const int group = tile / group_tiles;
    const int pair = pair_at(group, min(lane / 4, count_of(group) - 1));
    x = x_base + (p.x_of_pairs ? pair : pair / p.slots) * p.k_padded + warp * kUnitColumns +
        32 * (lane % 4);
  };
  const auto end_tile = [&] {
  // Two buffers, so that one barrier a tile is enough.
#pragma unroll
    for (int q = 0; q < kParts; ++q) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        partial[buffer][warp][q][i][lane] = acc[q][0][i];
        acc[q][0][i] = 0.0f;
      }
    }
    __syncthreads();
    // Value i of lane 4 g + t is row g + 8 (i / 2), pair 2 t + i % 2.
    const int group = tile / group_tiles, row_tile = tile % group_tiles;
    const int index = static_cast<int>(threadIdx.x), token = index / 16, in_tile = index % 16;
    if (token < count_of(group)) {
      const int i = 2 * (in_tile / 8) + token % 2, lane_of = in_tile % 8 * 4 + token / 2;
      float sums[2] = {};
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
#pragma unroll
        for (int w = 0; w < kMatVecWarps; ++w) sums[q] += partial[buffer][w][q][i][lane_of];
      }
      const int pair = pair_at(group, token), expert = expert_at(group);
      const int to_part = row_tile >= p.row_tiles ? 1 : 0;
      const int row = (row_tile - to_part * p.row_tiles) * kTileRows + in_tile;
      if constexpr (kGated) {
        float value = 0.0f;
        if (row < p.weight.rows) {
          value = gate_with(p.activation, sums[0] + p.bias(0, expert, row),
                            sums[1] + p.bias(1, expert, row));
        }
        __nv_bfloat16* const to = p.gated_out + pair * p.gated_stride;
        if (row < p.gated_stride) to[row] = __float2bfloat16_rn(value);
        // What the next product reads past the last row.
        if (row_tile == p.row_tiles - 1) {
          for (int64_t r = row + kTileRows; r < p.gated_stride; r += kTileRows) {
            to[r] = __float2bfloat16_rn(0.0f);
          }
        }
      } else if (row < p.weight.rows) {
        p.out_row(to_part, pair)[row] = sums[0] + p.bias(to_part, expert, row);
      }
    }
    buffer ^= 1;
    tile += static_cast<int>(gridDim.x);
    start_x();
  };
  if (num_units <= 0) {
    while (tile < num_tiles) end_tile();
    return;
  }
  start_x();
  int x_offset = 0;
  while (tile < num_tiles) {
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      uint4 xs[1][4];
      const auto* columns = reinterpret_cast<const uint4*>(x + x_offset);
#pragma unroll
      for (int i = 0; i < 4; ++i) xs[0][i] = columns[i];
      const auto factors = Format::factors(raw[d], half, lane);
      if (!kGated || part == 0) {
        multiply_part<Format, 0, 1>(raw[d], factors, xs, acc[0]);
        multiply_part<Format, 1, 1>(raw[d], factors, xs, acc[0]);
      } else {
        multiply_part<Format, 0, 1>(raw[d], factors, xs, acc[kParts - 1]);
        multiply_part<Format, 1, 1>(raw[d], factors, xs, acc[kParts - 1]);
      }
      fetch(raw[d]);
      x_offset += kMatVecWarps * kUnitColumns;
      if (--left > 0) continue;
      left = num_units;
      x_offset = 0;
      if (++part < kParts) continue;
      part = 0;
      end_tile();
      if (tile >= num_tiles) break;
    }
  }
}

template <typename Format, bool kGated, bool kSharedX>
Status launch_expert_matvec_as(Context& context, const ExpertProduct& p) {
  const auto kernel = expert_matvec<Format, kGated, kSharedX>;
  const int64_t rows = p.x_of_pairs ? p.pairs() : p.tokens;
  const size_t shared = kSharedX ? static_cast<size_t>(rows * p.k_padded * 2) : 0;
  if constexpr (kSharedX) {
    static const cudaError_t configured =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_x_bytes(context)));
    TRY(check(configured, "expert_matmul: shared memory"));
  }
  const int most_tiles = std::min(p.pairs(), p.experts) * p.row_tiles * (kGated ? 1 : p.num_parts);
  const auto grid = static_cast<unsigned>(std::min(most_tiles, 2 * context.num_sms));
  return launch("expert_matmul", kernel, grid, 32 * kMatVecWarps, shared, context.stream, p);
}

template <typename Format, bool kGated>
Status launch_expert_matvec_of(Context& context, ExpertProduct p) {
  const int64_t rows = p.x_of_pairs ? p.pairs() : p.tokens;
  // The groups and sums take some of a block's share of shared memory.
  if (static_cast<size_t>(rows * p.k_padded * 2) <= shared_x_bytes(context)) {
    return launch_expert_matvec_as<Format, kGated, true>(context, p);
  }
  if (p.x16 == nullptr) p.x16 = TRY(gather_pairs(context, p, nullptr));
  return launch_expert_matvec_as<Format, kGated, false>(context, p);
}

template <typename Format>
Status launch_expert_matvec(Context& context, const ExpertProduct& p) {
  return p.is_gated ? launch_expert_matvec_of<Format, true>(context, p)
                    : launch_expert_matvec_of<Format, false>(context, p);
}

}  // namespace realm::cuda
