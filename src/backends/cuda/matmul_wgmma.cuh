// The matrix product for many tokens: 128 weight rows (256 where kN is small) by kN tokens a block,
// Y^T = W X^T on wgmma. Weights go from memory through registers, where they are unpacked to
// bfloat16, straight into the matrix units as first operand: no shared memory and no unpacked copy
// anywhere. Activations come through shared memory by the copy engine, one warp feeding a ring of
// stages of 128 columns; groups of four warps multiply, one unpacking while the other's products
// run. Where there are fewer blocks than multiprocessors the columns are split, and the last block
// of a tile adds the parts in their order, so that results do not depend on timing.
#pragma once

#include "backends/cuda/async.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/tensor_map.cuh"
#include "backends/cuda/wgmma.cuh"

namespace realm::cuda {

template <int kN>
struct MatMulShape {
  // Groups of four warps that multiply. Narrow tiles leave registers for four of them, which hide
  // each other's latency.
  static constexpr int kGroups = kN <= 32 ? 4 : 2;
  static constexpr int kRowTiles = 4 * kGroups;  // of 16 rows: one a warp
  static constexpr int kConsumers = 128 * kGroups;
  static constexpr int kThreads = 128 + kConsumers;
  static constexpr int kBoxBytes = kN * 128;  // 64 columns
  static constexpr int kStageBytes = 2 * kBoxBytes;
  static constexpr int kStages = kN == 256 ? 3 : kN == 128 ? 6 : 8;
  static constexpr int kSharedBytes = kStages * kStageBytes + 1024 + 256;
};

struct Splits {
  int count;
  float* partials;  // [splits, tiles, kN / 2, threads that multiply]
  int* counters;    // [tiles], zero
};

template <int kConsumers>
__device__ void consumers_sync() {
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
}

template <typename Source, int kN>
struct Consumer {
  using Shape = MatMulShape<kN>;
  using Raw = typename Source::Raw;
  const ProductPart& part;
  const std::byte* stages;
  uint64_t *full, *empty;
  int weight_tile, lane;
  int stage = 0;
  uint32_t parity = 0;
  float acc[kN / 2];

  // One unit of 128 columns: two groups of four products. On return the second may still run and
  // read its operands, which for 16-bit floats are `raw` itself; so the unit's stage is given back,
  // and its registers filled again (`refill_last`), by the next call.
  template <typename Refill>
  __device__ void multiply(const Raw& raw, int unit, bool is_first, Refill&& refill_last) {
    uint32_t a[4][4], b[4][4];
    const auto factors = Source::factors(part.weight, raw, weight_tile, unit, lane);
    Source::template decode<0>(raw, factors, a);
    barrier_wait(full + stage, parity);
    const uint64_t x = swizzled_descriptor(shared_address(stages + stage * Shape::kStageBytes));
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < 4; ++s) Wgmma<kN>::run(acc, a[s], x + 2 * s);
    wgmma_commit();
    wgmma_wait<1>();
    if (!is_first) {
      if (lane == 0) barrier_arrive(empty + (stage == 0 ? Shape::kStages - 1 : stage - 1));
      refill_last();
    }
    Source::template decode<1>(raw, factors, b);
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      Wgmma<kN>::run(acc, b[s], x + Shape::kBoxBytes / 16 + 2 * s);
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (++stage == Shape::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Value i of eight-token group j of lane 4 g + t is row g + 8 (i / 2), token 8 j + 2 t + i % 2.
// What is added to is read sixteen values at a time: one by one, each would wait for the one
// before.
template <int kN>
__device__ void write_tile(const ProductPart& part, const Product& p, int row0, int token0,
                           int lane, const float (&acc)[kN / 2]) {
  const int row[2] = {row0 + lane / 4, row0 + lane / 4 + 8};
  float bias[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    bias[r] = part.bias != nullptr && row[r] < part.weight.rows ? part.bias[row[r]] : 0.0f;
  }
  constexpr int kGroup = 4;
#pragma unroll
  for (int j = 0; j < kN / 8; j += kGroup) {
    float* to[4 * kGroup];
    float before[4 * kGroup];
#pragma unroll
    for (int i = 0; i < 4 * kGroup; ++i) {
      const int token = token0 + 8 * (j + i / 4) + 2 * (lane % 4) + i % 2, r = i % 4 / 2;
      const bool there = token < p.tokens && row[r] < part.weight.rows;
      to[i] = there ? part.out + token * part.out_stride + row[r] : nullptr;
      before[i] = there && p.accumulate ? *to[i] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 4 * kGroup; ++i) {
      if (to[i] != nullptr) *to[i] = before[i] + (acc[4 * j + i] + bias[i % 4 / 2]);
    }
  }
}

// Leaves this block's sums for the last block of the tile; true there, with all splits added.
template <int kN>
__device__ bool add_splits(const Splits& splits, int tile, int num_tiles, int thread,
                           float (&acc)[kN / 2]) {
  __shared__ bool is_last;
  const auto at = [&](int split) {
    return splits.partials +
           (static_cast<int64_t>(split) * num_tiles + tile) * (kN / 2) *
               MatMulShape<kN>::kConsumers +
           thread;
  };
  float* mine = at(static_cast<int>(blockIdx.z));
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) __stcg(mine + i * MatMulShape<kN>::kConsumers, acc[i]);
  __threadfence();
  consumers_sync<MatMulShape<kN>::kConsumers>();
  if (thread == 0) {
    is_last = atomicAdd(splits.counters + tile, 1) == splits.count - 1;
    if (is_last) splits.counters[tile] = 0;
    __threadfence();
  }
  consumers_sync<MatMulShape<kN>::kConsumers>();
  if (!is_last) return false;
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) acc[i] = 0.0f;
  for (int split = 0; split < splits.count; ++split) {
    const float* part = at(split);
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) acc[i] += __ldcg(part + i * MatMulShape<kN>::kConsumers);
  }
  return true;
}

template <typename Source, int kN>
__global__ void __launch_bounds__(MatMulShape<kN>::kThreads, 1)
    matmul_wgmma(const Product p, const __grid_constant__ CUtensorMap x_map, const Splits splits) {
  using Shape = MatMulShape<kN>;
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
  const int token0 = static_cast<int>(blockIdx.y) * kN;

  const int consumer_warp = warp - 4;
  if (warp < 4) {
    give_registers<Shape::kGroups == 2 ? 40 : 24>();
    if (threadIdx.x == 0) {
      wait_for_inputs();
      int stage = 0;
      uint32_t parity = 1;
      for (int unit = unit_begin; unit < unit_end; ++unit) {
        barrier_wait(empty + stage, parity);
        std::byte* to = stages + stage * Shape::kStageBytes;
        barrier_expect(full + stage, Shape::kStageBytes);
        copy_box(to, &x_map, unit * kUnitColumns, token0, full + stage);
        copy_box(to + Shape::kBoxBytes, &x_map, unit * kUnitColumns + 64, token0, full + stage);
        if (++stage == Shape::kStages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
    return;
  }
  take_registers<Shape::kGroups == 2 ? 232 : 112>();
  const int tile = static_cast<int>(blockIdx.x) * Shape::kRowTiles + consumer_warp;
  const int clamped = min(tile, p.num_row_tiles - 1);
  const ProductPart& part = p.part_of(clamped);
  const int part_tile = clamped - part.first_tile;
  Consumer<Source, kN> consumer{part, stages, full, empty, part.row_tile_begin + part_tile, lane};
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) consumer.acc[i] = 0.0f;
  constexpr int kDepth = Source::kDepth;
  typename Source::Raw raw[kDepth];
#pragma unroll
  for (int d = 0; d < kDepth; ++d) {
    if (unit_begin + d < unit_end) {
      raw[d] = Source::load(part.weight, consumer.weight_tile, unit_begin + d, lane);
    }
  }
  wait_for_inputs();
  for (int base = unit_begin; base < unit_end; base += kDepth) {
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      const int unit = base + d;
      if (unit >= unit_end) break;
      consumer.multiply(raw[d], unit, unit == unit_begin, [&] {
        if (unit - 1 + kDepth >= unit_end) return;
        raw[(d + kDepth - 1) % kDepth] =
            Source::load(part.weight, consumer.weight_tile, unit - 1 + kDepth, lane);
      });
    }
  }
  wgmma_wait<0>();
  if (splits.count > 1) {
    const int num_tiles = static_cast<int>(gridDim.x * gridDim.y);
    const int index = static_cast<int>(blockIdx.y * gridDim.x + blockIdx.x);
    if (!add_splits<kN>(splits, index, num_tiles, 32 * consumer_warp + lane, consumer.acc)) {
      return;
    }
  }
  if (tile < p.num_row_tiles) {
    write_tile<kN>(part, p, part_tile * kTileRows, token0, lane, consumer.acc);
  }
}

template <typename Source, int kN>
Status launch_wgmma(Context& context, const Product& p) {
  using Shape = MatMulShape<kN>;
  static const cudaError_t configured = cudaFuncSetAttribute(
      matmul_wgmma<Source, kN>, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes);
  TRY(check(configured, "matmul: shared memory"));
  const CUtensorMap map = TRY(
      map_rows(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, p.x, p.k_padded, p.tokens, 2 * p.k_padded, kN));
  const int row_blocks = (p.num_row_tiles + Shape::kRowTiles - 1) / Shape::kRowTiles;
  const int token_blocks = (p.tokens + kN - 1) / kN;
  const int blocks = row_blocks * token_blocks, units = 2 * p.parts[0].weight.num_tiles;
  Splits splits{.count = 1, .partials = nullptr, .counters = nullptr};
  if (2 * blocks <= context.num_sms && blocks <= Context::kCounters) {
    splits.count = std::max(1, std::min(context.num_sms / blocks, units / 2));
  }
  if (splits.count > 1) {
    const size_t floats = static_cast<size_t>(splits.count) * static_cast<size_t>(blocks) *
                          static_cast<size_t>(kN / 2) * Shape::kConsumers;
    splits.partials = reinterpret_cast<float*>(TRY(context.partials.get(floats * sizeof(float))));
    splits.counters = reinterpret_cast<int*>(context.counters);
  }
  const dim3 grid(static_cast<unsigned>(row_blocks), static_cast<unsigned>(token_blocks),
                  static_cast<unsigned>(splits.count));
  return launch("matmul", matmul_wgmma<Source, kN>, grid, Shape::kThreads, Shape::kSharedBytes,
                context.stream, p, map, splits);
}

// Of formats with tiles, a kernel for each size of step; the others make do with one.
template <typename Source>
Status launch_matmul_tiled(Context& context, const Product& p) {
  if (p.tokens <= 32) return launch_wgmma<Source, 32>(context, p);
  if (p.tokens <= 64) return launch_wgmma<Source, 64>(context, p);
  // Wide tiles read less, narrow ones leave fewer multiprocessors idle in the last round.
  const int rows = (p.num_row_tiles + 7) / 8;
  const auto rounds = [&](int n) {
    const int blocks = rows * ((p.tokens + n - 1) / n);
    return (blocks + context.num_sms - 1) / context.num_sms;
  };
  if (p.tokens <= 128 || 27 * rounds(128) < 50 * rounds(256)) {
    return launch_wgmma<Source, 128>(context, p);
  }
  return launch_wgmma<Source, 256>(context, p);
}

template <typename Source>
Status launch_matmul_two_sizes(Context& context, const Product& p) {
  return p.tokens <= 128 ? launch_wgmma<Source, 64>(context, p)
                         : launch_wgmma<Source, 256>(context, p);
}

}  // namespace realm::cuda
