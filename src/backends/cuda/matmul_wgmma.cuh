// The matrix product for many tokens: 128 weight rows (192 or 256 by choice) by kN tokens a block,
// Y^T = W X^T on wgmma. Weights go from memory through registers, where they are unpacked to
// bfloat16, straight into the matrix units as first operand: no shared memory and no unpacked copy
// anywhere. Activations come through shared memory by the copy engine, one warp feeding a ring of
// stages of 128 columns; groups of four warps multiply, one unpacking while the other's products
// run. Where there are fewer blocks than multiprocessors the columns are split among several,
// all of which run at a time; each adds up its share of the tile from all of them, in their order,
// so that results do not depend on timing.
#pragma once

#include "backends/cuda/async.cuh"
#include "backends/cuda/features.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/matmul_mma.cuh"
#include "backends/cuda/matmul_output.cuh"
#include "backends/cuda/tensor_map.cuh"
#include "backends/cuda/wgmma.cuh"

namespace realm::cuda {

// Groups of four warps that multiply, of 64 rows each. Narrow tiles leave registers for four of
// them, which hide each other's latency.
constexpr int groups_for(int n) {
  return n <= 32 ? 4 : 2;
}

template <int kN, int kGroupsWanted = groups_for(kN)>
struct MatMulShape {
  static constexpr int kGroups = kGroupsWanted;
  static constexpr int kProducerRegisters = kGroups == 2 ? 40 : 24;
  static constexpr int kConsumerRegisters = kGroups == 2 ? 232 : kGroups == 3 ? 160 : 112;
  static constexpr int kRowTiles = 4 * kGroups;  // of 16 rows: one a warp
  static constexpr int kConsumers = 128 * kGroups;
  static constexpr int kThreads = 128 + kConsumers;
  static constexpr bool kSplits = kN <= 128;  // whether the columns can be split
  static constexpr int kBoxBytes = kN * 128;  // 64 columns
  static constexpr int kStageBytes = 2 * kBoxBytes;
  static constexpr int kStages = kN > 128 ? 3 : kN == 128 ? 6 : 8;
  static constexpr int kSharedBytes = kStages * kStageBytes + 1024 + 256;
};

struct Splits {
  int row_blocks, token_blocks;
  int count;         // along the grid's last dimension
  float4* partials;  // [tiles, count, kN / 8, threads that multiply]
  int* counters;     // [tiles, warps that multiply], zero
};

inline constexpr int kSplitsMax = 8;

template <typename Source, int kN, int kGroups>
struct Consumer {
  using Shape = MatMulShape<kN, kGroups>;
  using Raw = typename Source::Raw;
  const std::byte* stages;
  uint64_t *full, *empty;
  int lane;
  int stage = 0;
  uint32_t parity = 0;
  float acc[kN / 2];

  __device__ uint64_t wait_for_stage() {
    barrier_wait(full + stage, parity);
    return swizzled_descriptor(shared_address(stages + stage * Shape::kStageBytes));
  }
  __device__ void give_back_last_stage() {
    if (lane == 0) barrier_arrive(empty + (stage == 0 ? Shape::kStages - 1 : stage - 1));
  }
  __device__ void next_stage() {
    if (++stage == Shape::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
  __device__ void run_products(const uint32_t (&a)[4][4], uint64_t x) {
    constexpr WgmmaType kType = kIsHalf<Source> ? WgmmaType::kF16 : WgmmaType::kBf16;
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      Wgmma<kN, kType>::run(acc, a[s], x + 2 * s);
    }
    wgmma_commit();
    wgmma_wait<1>();
  }

  // One unit of 128 columns: two groups of four products. On return the second may still run and
  // read its operands, which for 16-bit floats are `raw` itself; so the unit's stage is given back,
  // and its registers filled again (`refill_last`), by the next call.
  template <typename Factors, typename Refill>
  __device__ void multiply(const Raw& raw, const Factors& factors, bool is_first,
                           Refill&& refill_last) {
    uint32_t a[4][4], b[4][4];
    Source::template decode<0>(raw, factors, a);
    const uint64_t x = wait_for_stage();
    run_products(a, x);
    if (!is_first) {
      give_back_last_stage();
      refill_last();
    }
    Source::template decode<1>(raw, factors, b);
    run_products(b, x + Shape::kBoxBytes / 16);
    next_stage();
  }
};

// Waits until this warp of all blocks of a tile, which run at the same time, has come here with
// what it wrote: none reads what another warp's has. The last to leave makes the counter zero
// again.
__device__ inline void meet(int* counter, int count, int lane) {
  __threadfence();
  __syncwarp();
  if (lane == 0) {
    atomicAdd(counter, 1);
    int arrived = 0;
    while (arrived < count) {
      asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(arrived) : "l"(counter) : "memory");
    }
    if (atomicAdd(counter, 1) == 2 * count - 1) *counter = 0;
  }
  __syncwarp();
}

// Sources of products with weights of two types, Product::other_tile says from which tile of rows
// on.
template <typename First, typename Other>
struct SourcePair {
  using FirstSource = First;
  using OtherSource = Other;
  static constexpr bool kGated = false;
  static constexpr int kTileBytes = First::kTileBytes;
};
template <typename Source>
inline constexpr bool kIsPair = false;
template <typename First, typename Other>
inline constexpr bool kIsPair<SourcePair<First, Other>> = true;

// Asks for a block's next column tile to be in the L2 cache, as registers can have but few units on
// their way. Lane i has tile i of the rows. Measured: it makes the shapes of asks_ahead 3 to 15 %
// faster, and others as much slower.
template <typename Source>
struct WeightsAhead {
  const uint8_t* from = nullptr;
  int tile_bytes = Source::kTileBytes, end = 0;

  __device__ WeightsAhead(const Product& p, int tile, bool there, int column_end) {
    if (Source::kTileBytes == 0 || !there || tile >= p.num_row_tiles) return;
    const ProductPart& part = Source::kGated ? p.parts[tile % 2] : p.part_of(tile);
    const int part_tile = Source::kGated ? tile / 2 : tile - part.first_tile;
    if (part_tile * kTileRows >= part.weight.rows) return;
    if constexpr (kIsPair<Source>) {
      if (tile >= p.other_tile) tile_bytes = Source::OtherSource::kTileBytes;
    }
    const int64_t row = part.row_tile_begin + part_tile;
    from = part.weight.data + row * part.weight.num_tiles * tile_bytes;
    end = column_end;
  }
  __device__ void ask(int column) const {
    if (column >= end) return;
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(
                     from + static_cast<int64_t>(column) * tile_bytes),
                 "r"(tile_bytes));
  }
};

template <typename Source, int kN, int kGroups>
constexpr bool asks_ahead() {
  if (Source::kTileBytes == 0 || kGroups == 3) return false;
  return kN == 32 ? Source::kGated && Source::kTileBytes < 4096
                  : (kN == 64 || kN == 128) && Source::kTileBytes < 8192;
}

// What a warp that multiplies does, for rows from tile `first_tile` and tokens from token0 on.
template <typename Source, int kN, int kGroups>
__device__ __forceinline__ void multiply_rows(const Product& p, const Splits& splits,
                                              int first_tile, int token0, int unit_begin,
                                              int unit_end, int consumer_warp,
                                              Consumer<Source, kN, kGroups> consumer) {
  using Shape = MatMulShape<kN, kGroups>;
  const int lane = consumer.lane, tile = first_tile + consumer_warp;
  const int clamped = min(tile, p.num_row_tiles - 1);
  const ProductPart& part = Source::kGated ? p.parts[0] : p.part_of(clamped);
  // Between the parts of two types there may be tiles of no rows.
  const int past_part = (part.weight.rows + kTileRows - 1) / kTileRows * (Source::kGated ? 2 : 1);
  const int wanted_tile = clamped - (Source::kGated ? 0 : part.first_tile);
  const int part_tile = min(wanted_tile, past_part - 1);
  const auto load = [&](int unit) {
    // Of gated sources, slices begin at the same row of both.
    const int weight_tile = part.row_tile_begin * (Source::kGated ? 2 : 1) + part_tile;
    if constexpr (Source::kGated) {
      return Source::load(part.weight, p.parts[1].weight, weight_tile, unit, lane);
    } else {
      return Source::load(part.weight, weight_tile, unit, lane);
    }
  };
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) consumer.acc[i] = 0.0f;
  constexpr int kDepth = kGroups == 3 && Source::kDepth > 2 ? 2 : Source::kDepth;
  typename Source::Raw raw[kDepth];
#pragma unroll
  for (int d = 0; d < kDepth; ++d) {
    if (unit_begin + d < unit_end) raw[d] = load(unit_begin + d);
  }
  wait_for_inputs();
  for (int base = unit_begin; base < unit_end; base += kDepth) {
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      const int unit = base + d;
      if (unit >= unit_end) break;
      const auto factors =
          Source::factors(part.weight, raw[d], part.row_tile_begin + part_tile, unit, lane);
      consumer.multiply(raw[d], factors, unit == unit_begin, [&] {
        if (unit - 1 + kDepth >= unit_end) return;
        raw[(d + kDepth - 1) % kDepth] = load(unit - 1 + kDepth);
      });
    }
  }
  wgmma_wait<0>();
  if (tile >= p.num_row_tiles || wanted_tile >= past_part) return;
  if (!Shape::kSplits || splits.count == 1) {
    write_groups<Source::kGated>(part, p, part_tile, token0, p.tokens, 8, lane,
                                 *reinterpret_cast<const float(*)[kN / 8][4]>(consumer.acc));
    return;
  }
  // Block z of the tile adds up groups z, z + count, ... of all its blocks.
  constexpr int kPartial = (kN / 8) * Shape::kConsumers, kWarps = Shape::kConsumers / 32;
  const int thread = 32 * consumer_warp + lane;
  float4* sums = splits.partials + int64_t{blockIdx.x} * splits.count * kPartial + thread;
  float4* mine = sums + int64_t{blockIdx.z} * kPartial;
#pragma unroll
  for (int j = 0; j < kN / 8; ++j) {
    const float* acc = consumer.acc + 4 * j;
    __stcg(mine + j * Shape::kConsumers, make_float4(acc[0], acc[1], acc[2], acc[3]));
  }
  meet(splits.counters + static_cast<int>(blockIdx.x) * kWarps + consumer_warp, splits.count, lane);
  // Some groups at a time, all of whose parts are on their way at once. Groups past the tile's end
  // are tokens that are not there, or another block's: not written.
  constexpr int kAtOnce = kN >= 64 ? 4 : 2;
  const int rank = static_cast<int>(blockIdx.z), token_end = min(p.tokens, token0 + kN);
  for (int j0 = rank; j0 < kN / 8; j0 += kAtOnce * splits.count) {
    float4 parts[kAtOnce][kSplitsMax];
#pragma unroll
    for (int split = 0; split < kSplitsMax; ++split) {
#pragma unroll
      for (int n = 0; n < kAtOnce; ++n) {
        const int j = j0 + n * splits.count;
        const bool there = split < splits.count && j < kN / 8;
        parts[n][split] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (there) parts[n][split] = __ldcg(sums + split * kPartial + j * Shape::kConsumers);
      }
    }
    float values[kAtOnce][4] = {};
#pragma unroll
    for (int n = 0; n < kAtOnce; ++n) {
#pragma unroll
      for (int split = 0; split < kSplitsMax; ++split) {
        const float4& v = parts[n][split];
        values[n][0] += v.x;
        values[n][1] += v.y;
        values[n][2] += v.z;
        values[n][3] += v.w;
      }
    }
    write_groups<Source::kGated>(part, p, part_tile, token0 + 8 * j0, token_end, 8 * splits.count,
                                 lane, values);
  }
}

template <typename Source, int kN, int kGroups>
__device__ __forceinline__ void multiply_block(const Product& p, const CUtensorMap& x_map,
                                               const Splits& splits) {
  using Shape = MatMulShape<kN, kGroups>;
  extern __shared__ std::byte shared[];
  std::byte* stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
  auto* full = reinterpret_cast<uint64_t*>(stages + Shape::kStages * Shape::kStageBytes);
  uint64_t* empty = full + Shape::kStages;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Shape::kStages; ++i) {
      barrier_init(full + i, 1);
      barrier_init(empty + i, 4 * Shape::kGroups);
    }
    fence_barrier_init();
  }
  __syncthreads();
  may_start_next();
  const int num_units = 2 * p.parts[0].weight.num_tiles;
  const int unit_begin = num_units * static_cast<int>(blockIdx.z) / splits.count;
  const int unit_end = num_units * (static_cast<int>(blockIdx.z) + 1) / splits.count;
  const BlockPlace place(static_cast<int>(blockIdx.x), splits.row_blocks, splits.token_blocks);
  const int token0 = place.tokens * kN;

  const int consumer_warp = warp - 4;
  if (warp < 4) {
    give_registers<Shape::kProducerRegisters>();
    if (warp > 0) return;
    const WeightsAhead<Source> weights(p, place.rows * Shape::kRowTiles + lane,
                                       lane < Shape::kRowTiles, (unit_end + 1) / 2);
    wait_for_inputs();
    int stage = 0;
    uint32_t parity = 1;
    for (int unit = unit_begin; unit < unit_end; ++unit) {
      if (lane == 0) {
        barrier_wait(empty + stage, parity);
        std::byte* to = stages + stage * Shape::kStageBytes;
        barrier_expect(full + stage, Shape::kStageBytes);
        copy_box(to, &x_map, unit * kUnitColumns, token0, full + stage);
        copy_box(to + Shape::kBoxBytes, &x_map, unit * kUnitColumns + 64, token0, full + stage);
      }
      __syncwarp();
      if (asks_ahead<Source, kN, kGroups>() && unit % 2 == 0) weights.ask(unit / 2 + 1);
      if (++stage == Shape::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
    return;
  }
  take_registers<Shape::kConsumerRegisters>();
  const int first_tile = place.rows * Shape::kRowTiles;
  const auto multiply = [&]<typename Of>() {
    multiply_rows<Of, kN, kGroups>(p, splits, first_tile, token0, unit_begin, unit_end,
                                   consumer_warp, {stages, full, empty, lane});
  };
  if constexpr (!kIsPair<Source>) {
    multiply.template operator()<Source>();
  } else if (first_tile < p.other_tile) {
    multiply.template operator()<typename Source::FirstSource>();
  } else {
    multiply.template operator()<typename Source::OtherSource>();
  }
}

template <typename Source, int kN, int kGroups = groups_for(kN)>
__global__ void __launch_bounds__(MatMulShape<kN, kGroups>::kThreads, 1)
    matmul_wgmma(const Product p, const __grid_constant__ CUtensorMap x_map, const Splits splits) {
  if constexpr (REALM_WGMMA) multiply_block<Source, kN, kGroups>(p, x_map, splits);
}

// How a product is cut: over how many blocks its columns, and what it then takes, as measured on an
// H100, in microseconds.
struct Cut {
  int splits = 1;
  double time = 0;
};

// Columns are split where all blocks still run at a time.
template <typename Source, int kN, int kGroups = groups_for(kN)>
Result<Cut> cut_product(Context& context, const Product& p) {
  using Shape = MatMulShape<kN, kGroups>;
  const auto kernel = matmul_wgmma<Source, kN, kGroups>;
  static const cudaError_t configured = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes);
  TRY(check(configured, "matmul: shared memory"));
  const int blocks =
      (p.num_row_tiles + Shape::kRowTiles - 1) / Shape::kRowTiles * ((p.tokens + kN - 1) / kN);
  const int units = 2 * p.parts[0].weight.num_tiles;
  // A unit, what begins and ends a block, and what meeting to add up takes more.
  const double unit_time = kGroups == 3 ? 1.13 : kN == 256 ? 1.3 : p.tokens > 128 ? 0.87 : 0.77;
  const double block_time = kN == 256 ? 5.0 : kGroups == 3 ? 4.0 : 3.0;
  const double adding_time = kGroups == 3 ? 3.2 : 2.2;
  const int rounds = (blocks + context.num_sms - 1) / context.num_sms;
  Cut best{.splits = 1, .time = rounds * (units * unit_time + block_time)};
  const bool may_split = Shape::kSplits && !context.batch_invariant;
  for (int count = 2; may_split && count <= kSplitsMax && 2 * count <= units; ++count) {
    if (blocks * count > context.num_sms || blocks * 4 * kGroups > Context::kCounters) break;
    const double time = (units + count - 1) / count * unit_time + block_time + adding_time;
    if (time < best.time) best = {.splits = count, .time = time};
  }
  return best;
}

template <typename Source, int kN, int kGroups = groups_for(kN)>
Status launch_cut(Context& context, const Product& p, const Cut& cut) {
  using Shape = MatMulShape<kN, kGroups>;
  const CUtensorMap map = TRY(
      map_rows(kIsHalf<Source> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
               p.x, p.k_padded, p.tokens, 2 * p.k_padded, kN));
  Splits splits{.row_blocks = (p.num_row_tiles + Shape::kRowTiles - 1) / Shape::kRowTiles,
                .token_blocks = (p.tokens + kN - 1) / kN,
                .count = cut.splits,
                .partials = nullptr,
                .counters = reinterpret_cast<int*>(context.counters)};
  const int blocks = splits.row_blocks * splits.token_blocks;
  if (cut.splits > 1) {
    const size_t sums = static_cast<size_t>(blocks * cut.splits * (kN / 8)) *
                        static_cast<size_t>(Shape::kConsumers);
    splits.partials = reinterpret_cast<float4*>(TRY(context.partials.get(sums * sizeof(float4))));
  }
  const dim3 grid(static_cast<unsigned>(blocks), 1, static_cast<unsigned>(cut.splits));
  return launch("matmul", matmul_wgmma<Source, kN, kGroups>, grid, Shape::kThreads,
                Shape::kSharedBytes, context.stream, p, map, splits);
}

template <typename Source, int kN>
Status launch_wgmma(Context& context, const Product& p) {
  return launch_cut<Source, kN>(context, p, TRY((cut_product<Source, kN>(context, p))));
}

// Of formats with tiles, a kernel for each size of step; the others make do with one.
template <typename Source>
Status launch_matmul_tiled(Context& context, const Product& p) {
  if (!context.has_wgmma) return launch_mma<Source>(context, p);
  if (p.tokens <= 32) return launch_wgmma<Source, 32>(context, p);
  if (p.tokens <= 64) return launch_wgmma<Source, 64>(context, p);
  // Wide tiles read less, narrow ones leave fewer multiprocessors idle in the last round, as do
  // those of 192 rows where 128 or 256 leave many.
  const Cut narrow = TRY((cut_product<Source, 128>(context, p)));
  if constexpr (Source::kUnpacks && !Source::kGated) {
    const Cut tall = TRY((cut_product<Source, 128, 3>(context, p)));
    if (p.tokens <= 256 && tall.time < narrow.time) {
      return launch_cut<Source, 128, 3>(context, p, tall);
    }
  }
  if (p.tokens <= 128) return launch_cut<Source, 128>(context, p, narrow);
  if constexpr (Source::kUnpacks && Source::kGated) {
    if (p.tokens <= 224) return launch_wgmma<Source, 224>(context, p);
  }
  const Cut wide = TRY((cut_product<Source, 256>(context, p)));
  if (narrow.time < wide.time) return launch_cut<Source, 128>(context, p, narrow);
  return launch_cut<Source, 256>(context, p, wide);
}

// Both products as one, whose other type begins with a block of its own.
inline Product joined(const Product& first, const Product& other, int block_tiles) {
  Product p = first;
  p.other_tile = (first.num_row_tiles + block_tiles - 1) / block_tiles * block_tiles;
  for (int i = 0; i < other.num_parts; ++i) {
    ProductPart& part = p.parts[p.num_parts++] = other.parts[i];
    part.first_tile += p.other_tile;
  }
  p.num_row_tiles = p.other_tile + other.num_row_tiles;
  return p;
}

// Products of one input with weights of two types, in one kernel where a kernel's start and end
// count. The parts of both fit in one product.
template <typename First, typename Other>
Status launch_matmul_pair(Context& context, const Product& first, const Product& other) {
  using Source = SourcePair<First, Other>;
  const auto join = [&]<int kN, int kGroups = groups_for(kN)>() {
    return joined(first, other, MatMulShape<kN, kGroups>::kRowTiles);
  };
  if (first.tokens > 256 || !context.has_wgmma) {
    TRY(launch_matmul_tiled<First>(context, first));
    return launch_matmul_tiled<Other>(context, other);
  }
  if (first.tokens <= 32) return launch_wgmma<Source, 32>(context, join.template operator()<32>());
  if (first.tokens <= 64) return launch_wgmma<Source, 64>(context, join.template operator()<64>());
  const Product narrow = join.template operator()<128>();
  const Product tall = join.template operator()<128, 3>();
  const Cut narrow_cut = TRY((cut_product<Source, 128>(context, narrow)));
  const Cut tall_cut = TRY((cut_product<Source, 128, 3>(context, tall)));
  if (tall_cut.time < narrow_cut.time) {
    return launch_cut<Source, 128, 3>(context, tall, tall_cut);
  }
  return launch_cut<Source, 128>(context, narrow, narrow_cut);
}

template <typename Source>
Status launch_matmul_two_sizes(Context& context, const Product& p) {
  if (!context.has_wgmma) return launch_mma<Source>(context, p);
  return p.tokens <= 128 ? launch_wgmma<Source, 64>(context, p)
                         : launch_wgmma<Source, 256>(context, p);
}

}  // namespace realm::cuda
