// The matrix product for many tokens: 128 weight rows (256 where kN is small) by kN tokens a block,
// Y^T = W X^T on wgmma. Weights go from memory through registers, where they are unpacked to
// bfloat16, straight into the matrix units as first operand: no shared memory and no unpacked copy
// anywhere. Activations come through shared memory by the copy engine, one warp feeding a ring of
// stages of 128 columns; groups of four warps multiply, one unpacking while the other's products
// run. Where there are fewer blocks than multiprocessors the columns are split among several,
// all of which run at a time; each adds up its share of the tile from all of them, in their order,
// so that results do not depend on timing.
#pragma once

#include "backends/cuda/async.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/tensor_map.cuh"
#include "backends/cuda/wgmma.cuh"

namespace realm::cuda {

template <int kN, int kTiles = 1>
struct MatMulShape {
  // Groups of four warps that multiply. Narrow tiles leave registers for four of them, which hide
  // each other's latency.
  static constexpr int kGroups = kN <= 32 ? 4 : 2;
  static constexpr int kRowTiles = 4 * kGroups * kTiles;  // of 16 rows: kTiles a warp
  static constexpr int kConsumers = 128 * kGroups;
  static constexpr int kThreads = 128 + kConsumers;
  static constexpr bool kSplits = kN < 256;   // whether the columns can be split
  static constexpr int kBoxBytes = kN * 128;  // 64 columns
  static constexpr int kStageBytes = 2 * kBoxBytes;
  static constexpr int kStages = kN == 256 ? 3 : kN == 128 ? 6 : 8;
  static constexpr int kSharedBytes = kStages * kStageBytes + 1024 + 256;
};

// Blocks in the order in which they start: of up to kTogether blocks of tokens, one for each, then
// the next rows. What runs at a time then needs few rows of weights, which come from memory once,
// and few enough tokens that their activations stay in the L2 cache.
struct BlockPlace {
  static constexpr int kTogether = 8;
  int rows, tokens;
  __device__ BlockPlace(int index, int row_blocks, int token_blocks) {
    const int group = index / (kTogether * row_blocks), within = index % (kTogether * row_blocks);
    const int together = min(kTogether, token_blocks - group * kTogether);
    rows = within / together;
    tokens = group * kTogether + within % together;
  }
};

struct Splits {
  int row_blocks, token_blocks;
  int count;         // along the grid's last dimension
  float4* partials;  // [tiles, count, kTiles * kN / 8, threads that multiply]
  int* counters;     // [tiles], zero
};

inline constexpr int kSplitsMax = 8;
// What meeting and adding the parts up costs, in tiles and units.
inline constexpr double kWorkOfAdding = 3;

template <int kConsumers>
__device__ void consumers_sync() {
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
}

template <typename Source, int kN, int kTiles>
struct Consumer {
  using Shape = MatMulShape<kN, kTiles>;
  using Raw = typename Source::Raw;
  const std::byte* stages;
  uint64_t *full, *empty;
  int lane;
  int stage = 0;
  uint32_t parity = 0;
  float acc[kTiles][kN / 2];

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
  static __device__ void run_products(float (&sums)[kN / 2], const uint32_t (&a)[4][4],
                                      uint64_t x) {
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < 4; ++s) Wgmma<kN>::run(sums, a[s], x + 2 * s);
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
    run_products(acc[0], a, x);
    if (!is_first) {
      give_back_last_stage();
      refill_last();
    }
    Source::template decode<1>(raw, factors, b);
    run_products(acc[0], b, x + Shape::kBoxBytes / 16);
    next_stage();
  }

  // The same of two tiles of rows, whose registers are filled again as soon as they are unpacked.
  template <typename FactorsOf, typename Refill>
  __device__ void multiply_two(Raw (&raw)[2], FactorsOf&& factors_of, bool is_first,
                               Refill&& refill) {
    uint32_t a[4][4], b[4][4];
    uint64_t x = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const auto factors = factors_of(raw[i], i);
      Source::template decode<0>(raw[i], factors, a);
      if (i == 0) x = wait_for_stage();
      run_products(acc[i], a, x);
      if (i == 0 && !is_first) give_back_last_stage();
      Source::template decode<1>(raw[i], factors, b);
      refill(raw[i], i);
      run_products(acc[i], b, x + Shape::kBoxBytes / 16);
    }
    next_stage();
  }
};

// Waits until all blocks of a tile, which run at the same time, have come here with what they
// wrote. The last to leave makes the counter zero again.
template <int kConsumers>
__device__ void meet(int* counter, int count, int thread) {
  __threadfence();
  consumers_sync<kConsumers>();
  if (thread == 0) {
    atomicAdd(counter, 1);
    int arrived = 0;
    while (arrived < count) {
      asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(arrived) : "l"(counter) : "memory");
    }
    if (atomicAdd(counter, 1) == 2 * count - 1) *counter = 0;
  }
  consumers_sync<kConsumers>();
}

// Value i of eight-token group j of lane 4 g + t is row g + 8 (i / 2), token 8 j + 2 t + i % 2.
// What is added to is read sixteen values at a time: one by one, each would wait for the one
// before. Writes groups first, first + step, ... of `values`.
template <int kGroups>
__device__ void write_values(const ProductPart& part, const Product& p, int row0, int token0,
                             int token_end, int step, int lane, const float (&values)[kGroups][4]) {
  const int row[2] = {row0 + lane / 4, row0 + lane / 4 + 8}, rows = part.weight.rows;
  float* const out = part.out;
  const int64_t stride = part.out_stride;
  const bool accumulate = p.accumulate;
  float bias[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    bias[r] = part.bias != nullptr && row[r] < rows ? part.bias[row[r]] : 0.0f;
  }
  constexpr int kTogether = kGroups < 4 ? kGroups : 4;
#pragma unroll
  for (int j = 0; j < kGroups; j += kTogether) {
    float* to[4 * kTogether];
    float before[4 * kTogether];
#pragma unroll
    for (int i = 0; i < 4 * kTogether; ++i) {
      const int token = token0 + step * (j + i / 4) + 2 * (lane % 4) + i % 2, r = i % 4 / 2;
      const bool there = token < token_end && row[r] < rows;
      to[i] = there ? out + token * stride + row[r] : nullptr;
      before[i] = there && accumulate ? *to[i] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 4 * kTogether; ++i) {
      if (to[i] != nullptr) *to[i] = before[i] + (values[j + i / 4][i % 4] + bias[i % 4 / 2]);
    }
  }
}

// Of SiLU alone: each activation is spelled out for every value of the tile.
__device__ inline float silu_gate(float gate, float up) {
  return __fdividef(gate, 1.0f + __expf(-gate)) * up;
}

// Rows g are the gate's, rows g + 8 the same rows of up. Neighbours swap a token each, so that one
// has two rows of one token, which lie side by side in the next product's x.
template <int kGroups>
__device__ void write_gated_values(const Product& p, int row0, int token0, int token_end, int step,
                                   int lane, const float (&values)[kGroups][4]) {
  const int row = row0 + lane / 4, rows = p.parts[0].weight.rows;
  const bool odd = lane / 4 % 2 != 0;
  float bias[2] = {};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (p.parts[i].bias != nullptr && row < rows) bias[i] = p.parts[i].bias[row];
  }
  __nv_bfloat16* const to = p.gated_out + permuted_place(row - odd);
  const int64_t stride = p.gated_stride;
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
    const float(&v)[4] = values[j];
    const float a = silu_gate(v[0] + bias[0], v[2] + bias[1]);
    const float b = silu_gate(v[1] + bias[0], v[3] + bias[1]);
    const float other = __shfl_xor_sync(0xffffffffu, odd ? a : b, 4);
    const int token = token0 + step * j + 2 * (lane % 4) + odd;
    if (token >= token_end || row - odd >= rows) continue;
    *reinterpret_cast<__nv_bfloat162*>(to + token * stride) =
        odd ? __floats2bfloat162_rn(other, b) : __floats2bfloat162_rn(a, other);
  }
}

template <bool kGated, int kGroups>
__device__ void write_groups(const ProductPart& part, const Product& p, int part_tile, int token0,
                             int token_end, int step, int lane, const float (&values)[kGroups][4]) {
  if constexpr (kGated) {
    write_gated_values<kGroups>(p, part_tile * kTileRows / 2, token0, token_end, step, lane,
                                values);
  } else {
    write_values<kGroups>(part, p, part_tile * kTileRows, token0, token_end, step, lane, values);
  }
}

template <typename Source, int kN, int kTiles>
__global__ void __launch_bounds__(MatMulShape<kN, kTiles>::kThreads, 1)
    matmul_wgmma(const Product p, const __grid_constant__ CUtensorMap x_map, const Splits splits) {
  using Shape = MatMulShape<kN, kTiles>;
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
  // Tiles of a warp's are a group of warps' rows apart.
  int tile[kTiles], part_tile[kTiles];
  const ProductPart* part[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    tile[i] = place.rows * Shape::kRowTiles + i * 4 * Shape::kGroups + consumer_warp;
    const int clamped = min(tile[i], p.num_row_tiles - 1);
    part[i] = Source::kGated ? &p.parts[0] : &p.part_of(clamped);
    part_tile[i] = clamped - (Source::kGated ? 0 : part[i]->first_tile);
  }
  const auto load = [&](int unit, int i) {
    // Of gated sources, slices begin at the same row of both.
    const int weight_tile = part[i]->row_tile_begin * (Source::kGated ? 2 : 1) + part_tile[i];
    if constexpr (Source::kGated) {
      return Source::load(part[i]->weight, p.parts[1].weight, weight_tile, unit, lane);
    } else {
      return Source::load(part[i]->weight, weight_tile, unit, lane);
    }
  };
  const auto factors_of = [&](const typename Source::Raw& raw, int unit, int i) {
    return Source::factors(part[i]->weight, raw, part[i]->row_tile_begin + part_tile[i], unit,
                           lane);
  };
  Consumer<Source, kN, kTiles> consumer{stages, full, empty, lane};
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) consumer.acc[t][i] = 0.0f;
  }
  if constexpr (kTiles == 2) {
    typename Source::Raw raw[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) raw[i] = load(unit_begin, i);
    wait_for_inputs();
    for (int unit = unit_begin; unit < unit_end; ++unit) {
      consumer.multiply_two(
          raw, [&](const auto& of, int i) { return factors_of(of, unit, i); }, unit == unit_begin,
          [&](auto& of, int i) {
            if (unit + 1 < unit_end) of = load(unit + 1, i);
          });
    }
  } else {
    constexpr int kDepth = Source::kDepth;
    typename Source::Raw raw[kDepth];
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      if (unit_begin + d < unit_end) raw[d] = load(unit_begin + d, 0);
    }
    wait_for_inputs();
    for (int base = unit_begin; base < unit_end; base += kDepth) {
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        const int unit = base + d;
        if (unit >= unit_end) break;
        consumer.multiply(raw[d], factors_of(raw[d], unit, 0), unit == unit_begin, [&] {
          if (unit - 1 + kDepth >= unit_end) return;
          raw[(d + kDepth - 1) % kDepth] = load(unit - 1 + kDepth, 0);
        });
      }
    }
  }
  wgmma_wait<0>();
  if (!Shape::kSplits || splits.count == 1) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      if (tile[i] >= p.num_row_tiles) continue;
      write_groups<Source::kGated>(*part[i], p, part_tile[i], token0, p.tokens, 8, lane,
                                   *reinterpret_cast<const float(*)[kN / 8][4]>(consumer.acc[i]));
    }
    return;
  }
  // Block z of the tile adds up groups z, z + count, ... of all its blocks.
  constexpr int kPartial = kTiles * (kN / 8) * Shape::kConsumers;
  const int thread = 32 * consumer_warp + lane;
  float4* sums = splits.partials + int64_t{blockIdx.x} * splits.count * kPartial + thread;
  float4* mine = sums + int64_t{blockIdx.z} * kPartial;
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
      const float* acc = consumer.acc[i] + 4 * j;
      __stcg(mine + (i * (kN / 8) + j) * Shape::kConsumers,
             make_float4(acc[0], acc[1], acc[2], acc[3]));
    }
  }
  meet<Shape::kConsumers>(splits.counters + blockIdx.x, splits.count, thread);
  constexpr int kShare = kN / 16;  // groups of a block, of two or more
  const int rank = static_cast<int>(blockIdx.z);
  float values[kTiles][kShare][4] = {};
  for (int split = 0; split < splits.count; ++split) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int n = 0; n < kShare; ++n) {
        const int j = rank + n * splits.count;
        if (j >= kN / 8) continue;
        const float4 v = __ldcg(sums + split * kPartial + (i * (kN / 8) + j) * Shape::kConsumers);
        values[i][n][0] += v.x;
        values[i][n][1] += v.y;
        values[i][n][2] += v.z;
        values[i][n][3] += v.w;
      }
    }
  }
  // Groups past the tile's end are tokens that are not there, or another block's: not written.
  const int token_end = min(p.tokens, token0 + kN);
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    if (tile[i] >= p.num_row_tiles) continue;
    write_groups<Source::kGated>(*part[i], p, part_tile[i], token0 + 8 * rank, token_end,
                                 8 * splits.count, lane, values[i]);
  }
}

// How a product is cut: over how many blocks its columns, and what the busiest multiprocessor then
// works through, in tiles of 16 rows a warp and units.
struct Cut {
  int splits = 1;
  double work = 0;
};

// Columns are split where all blocks still run at a time.
template <typename Source, int kN, int kTiles>
Result<Cut> cut_product(Context& context, const Product& p) {
  using Shape = MatMulShape<kN, kTiles>;
  const auto kernel = matmul_wgmma<Source, kN, kTiles>;
  static const cudaError_t configured = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes);
  TRY(check(configured, "matmul: shared memory"));
  const int blocks =
      (p.num_row_tiles + Shape::kRowTiles - 1) / Shape::kRowTiles * ((p.tokens + kN - 1) / kN);
  const int units = 2 * p.parts[0].weight.num_tiles;
  // Measured: a tile and unit takes a third longer where a warp has one tile, and 1.85 times as
  // long with 256 tokens as with 128.
  const double tile_work = kTiles == 2 ? 2.0 : kN == 256 ? 2.46 : 1.33;
  Cut best{.splits = 1,
           .work = (blocks + context.num_sms - 1) / context.num_sms * units * tile_work};
  const bool may_split = Shape::kSplits && !context.batch_invariant;
  for (int count = 2; may_split && count <= kSplitsMax && 2 * count <= units; ++count) {
    if (blocks * count > context.num_sms || blocks > Context::kCounters) break;
    const double work = (units + count - 1) / count * tile_work + kWorkOfAdding;
    if (work < best.work) best = {.splits = count, .work = work};
  }
  return best;
}

template <typename Source, int kN, int kTiles>
Status launch_cut(Context& context, const Product& p, const Cut& cut) {
  using Shape = MatMulShape<kN, kTiles>;
  const CUtensorMap map = TRY(
      map_rows(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, p.x, p.k_padded, p.tokens, 2 * p.k_padded, kN));
  Splits splits{.row_blocks = (p.num_row_tiles + Shape::kRowTiles - 1) / Shape::kRowTiles,
                .token_blocks = (p.tokens + kN - 1) / kN,
                .count = cut.splits,
                .partials = nullptr,
                .counters = reinterpret_cast<int*>(context.counters)};
  const int blocks = splits.row_blocks * splits.token_blocks;
  if (cut.splits > 1) {
    const size_t sums = static_cast<size_t>(blocks * cut.splits * kTiles * (kN / 8)) *
                        static_cast<size_t>(Shape::kConsumers);
    splits.partials = reinterpret_cast<float4*>(TRY(context.partials.get(sums * sizeof(float4))));
  }
  const dim3 grid(static_cast<unsigned>(blocks), 1, static_cast<unsigned>(cut.splits));
  return launch("matmul", matmul_wgmma<Source, kN, kTiles>, grid, Shape::kThreads,
                Shape::kSharedBytes, context.stream, p, map, splits);
}

template <typename Source, int kN>
Status launch_wgmma(Context& context, const Product& p) {
  return launch_cut<Source, kN, 1>(context, p, TRY((cut_product<Source, kN, 1>(context, p))));
}

// Of formats with tiles, a kernel for each size of step; the others make do with one.
template <typename Source>
Status launch_matmul_tiled(Context& context, const Product& p) {
  if (p.tokens <= 32) return launch_wgmma<Source, 32>(context, p);
  if (p.tokens <= 64) return launch_wgmma<Source, 64>(context, p);
  // Wide tiles read less, narrow ones leave fewer multiprocessors idle in the last round. Two tiles
  // of rows a warp halve what is read of the activations, where unpacked weights leave registers.
  const Cut narrow = TRY((cut_product<Source, 128, 1>(context, p)));
  const Cut wide = TRY((cut_product<Source, 256, 1>(context, p)));
  if constexpr (Source::kUnpacks) {
    const Cut tall = TRY((cut_product<Source, 128, 2>(context, p)));
    if (p.tokens <= 128 && tall.work < narrow.work) {
      return launch_cut<Source, 128, 2>(context, p, tall);
    }
  }
  if (p.tokens <= 128 || narrow.work < wide.work) {
    return launch_cut<Source, 128, 1>(context, p, narrow);
  }
  return launch_cut<Source, 256, 1>(context, p, wide);
}

template <typename Source>
Status launch_matmul_two_sizes(Context& context, const Product& p) {
  return p.tokens <= 128 ? launch_wgmma<Source, 64>(context, p)
                         : launch_wgmma<Source, 256>(context, p);
}

}  // namespace realm::cuda
