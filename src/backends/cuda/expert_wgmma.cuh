// The product of many tokens with one of many matrices each: a grouped product on wgmma, all
// experts in one launch. Rows of x lie sorted by expert (expert_sort.cu); an item of work is 128
// or, for few rows of an expert each, 256 rows of one expert's weights by a tile of kN of its
// pairs, or fewer, for which there are narrower products. Blocks stay, one a multiprocessor, and
// take items in turn, those of one expert next to each other, so that its weights come from memory
// once; the warp that feeds activations runs ahead into the next item's, asking for its weights to
// be in the L2 cache. As in matmul_wgmma.cuh weights go from memory through registers into the
// matrix units. An output is the same operations whatever else is in the batch: columns are not
// split. Of gated products half of the groups of warps multiply gate, half up; they swap halves of
// their sums through shared memory.
#pragma once

#include "backends/cuda/expert_matvec.cuh"
#include "backends/cuda/matmul_wgmma.cuh"
#include "backends/cuda/tiles_planes.cuh"

namespace realm::cuda {

struct ExpertItem {
  int expert, first, count, row_block;  // places of pairs; count 0: there is no such item
};

__device__ inline ExpertItem find_item(const ExpertLists& lists, int index, int row_blocks, int n) {
  const int tile = index / row_blocks;
  if (tile >= *lists.num_tiles) return {0, 0, 0, 0};
  const int4 info = lists.tiles[tile];
  const int within = index - info.y * row_blocks;
  const int first = info.w + within % info.z * n;
  return {info.x, first, min(n, lists.offsets[info.x + 1] - first), within / info.z};
}

template <int kN, int kGroupsWanted>
struct ExpertShape : MatMulShape<kN, kGroupsWanted> {
  using Base = MatMulShape<kN, kGroupsWanted>;
  // Half of the sums of every thread that multiplies.
  static constexpr int kExchangeBytes = Base::kConsumers * kN;
  static constexpr int kSharedBytes = Base::kSharedBytes + kExchangeBytes;
  static constexpr int kProducerRegisters = Base::kGroups == 2 ? 40 : 32;
  // Activations come by so many pairs, as many times as an item has them.
  static constexpr int kBoxRows = kN <= 32 ? 8 : 32;
};

// Where things lie in a block's shared memory: barriers, sums that are swapped, stages. Addresses
// that are constants leave registers for weights.
template <int kN, int kGroups>
struct ExpertMemory {
  using Shape = ExpertShape<kN, kGroups>;
  static constexpr int kExchangeAt = 256;
  static_assert(2 * Shape::kStages * sizeof(uint64_t) <= kExchangeAt);
  static __device__ std::byte* start() {
    extern __shared__ std::byte shared[];
    return shared;
  }
  static __device__ uint64_t* full(int stage) {
    return reinterpret_cast<uint64_t*>(start()) + stage;
  }
  static __device__ uint64_t* empty(int stage) { return full(Shape::kStages + stage); }
  static __device__ float4* exchange() { return reinterpret_cast<float4*>(start() + kExchangeAt); }
  static __device__ std::byte* stage(int stage) {
    std::byte* all = start() + kExchangeAt + Shape::kExchangeBytes;
    return all + (1024 - shared_address(all) % 1024) % 1024 + stage * Shape::kStageBytes;
  }
};

// Which row tile of which part a warp has in a block of rows.
template <int kGroups>
struct ExpertRows {
  int part, tile;
  __device__ ExpertRows(const ExpertProduct& p, int row_block, int warp) {
    if (p.is_gated) {
      constexpr int kHalf = kGroups / 2;
      part = warp / (4 * kHalf);
      tile = row_block * 4 * kHalf + warp % (4 * kHalf);
    } else {
      const int all = row_block * 4 * kGroups + warp;
      part = p.num_parts == 2 && all >= p.row_tiles ? 1 : 0;
      tile = all - part * p.row_tiles;
    }
  }
};

__device__ inline int row_blocks_of(const ExpertProduct& p, int groups) {
  return (p.row_tiles * p.num_parts + 4 * groups - 1) / (4 * groups);
}

__device__ inline void meet_groups(int barrier) {
  asm volatile("bar.sync %0, 256;" ::"r"(barrier) : "memory");
}

__device__ inline float swiglu_clamped_gate(float gate, float up) {
  gate = fminf(gate, 7.0f);
  return __fdividef(gate, 1.0f + __expf(-1.702f * gate)) * (fminf(fmaxf(up, -7.0f), 7.0f) + 1.0f);
}

// A warp that multiplies. Of a tile's kN pairs an item's are the first kM at most.
template <typename Source, int kN, int kGroups>
struct ExpertConsumer {
  using Shape = ExpertShape<kN, kGroups>;
  using Memory = ExpertMemory<kN, kGroups>;
  using Raw = typename Source::Raw;
  // Where registers are few, the L2 cache has the weights in time.
  static constexpr int kDepth = kGroups == 4 && Source::kDepth > 2 ? 2 : Source::kDepth;
  const ExpertProduct& p;
  const ExpertLists& lists;
  int row_blocks, warp, lane;
  int stage = 0;
  uint32_t parity = 0;
  // The weights that come next.
  Raw raw[kDepth];
  WeightSource weight;
  int row_tile = 0;

  __device__ uint64_t wait_for_stage() {
    barrier_wait(Memory::full(stage), parity);
    return swizzled_descriptor(shared_address(Memory::stage(stage)));
  }
  __device__ void give_back_last_stage() {
    if (lane == 0) barrier_arrive(Memory::empty(stage == 0 ? Shape::kStages - 1 : stage - 1));
  }
  __device__ void next_stage() {
    if (++stage == Shape::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
  template <int kM>
  static __device__ void run_products(float (&acc)[kM / 2], const uint32_t (&a)[4][4], uint64_t x) {
    wgmma_fence();
#pragma unroll
    for (int s = 0; s < 4; ++s) Wgmma<kM, WgmmaType::kBf16>::run(acc, a[s], x + 2 * s);
    wgmma_commit();
    wgmma_wait<1>();
  }

  __device__ void start(const ExpertItem& item) {
    const ExpertRows<kGroups> rows(p, item.row_block, warp);
    weight.data = p.parts[rows.part].weight + item.expert * p.expert_bytes;
    row_tile = min(rows.tile, p.row_tiles - 1);
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      if (d < 2 * weight.num_tiles) raw[d] = Source::load(weight, row_tile, d, lane);
    }
  }

  // All columns of an item, then the first weights of the next, which is at `index`, then the
  // item's outputs. What of the second half of a unit's products may still run, and of its
  // operands, which for 16-bit floats are raw[] itself, is waited for with the next unit's first
  // half.
  template <int kM>
  __device__ void multiply(ExpertItem& item, int index) {
    const int num_units = 2 * p.weight.num_tiles;
    float acc[kM / 2];
#pragma unroll
    for (float& value : acc) value = 0.0f;
    for (int base = 0; base < num_units; base += kDepth) {
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        const int unit = base + d;
        if (unit >= num_units) break;
        const auto factors = Source::factors(weight, raw[d], row_tile, unit, lane);
        uint32_t a[4][4], b[4][4];
        Source::template decode<0>(raw[d], factors, a);
        const uint64_t x = wait_for_stage();
        run_products<kM>(acc, a, x);
        if (unit > 0) {
          give_back_last_stage();
          const int ahead = unit - 1 + kDepth;
          if (ahead < num_units) {
            raw[(d + kDepth - 1) % kDepth] = Source::load(weight, row_tile, ahead, lane);
          }
        }
        Source::template decode<1>(raw[d], factors, b);
        run_products<kM>(acc, b, x + Shape::kBoxBytes / 16);
        next_stage();
      }
    }
    wgmma_wait<0>();
    give_back_last_stage();
    const ExpertRows<kGroups> rows(p, item.row_block, warp);
    const ExpertItem next = find_item(lists, index, row_blocks, kN);
    if (next.count > 0) start(next);
    if (p.is_gated) {
      finish_gated<kM>(item, rows, acc);
    } else if (rows.tile < p.row_tiles) {
      write<kM>(item, rows, acc);
    }
    item = next;
  }

  // Value i of eight-pair group j of lane 4 g + t is row g + 8 (i / 2), place 8 j + 2 t + i % 2.
  template <int kM>
  __device__ void write(const ExpertItem& item, const ExpertRows<kGroups>& rows,
                        const float (&acc)[kM / 2]) {
    const int row = rows.tile * kTileRows + lane / 4;
    const bool there[2] = {row < p.weight.rows, row + 8 < p.weight.rows};
    float bias[2] = {};
    for (int r = 0; r < 2; ++r) {
      if (there[r]) bias[r] = p.bias(rows.part, item.expert, row + 8 * r);
    }
    // Lane l knows where the rows of places l, l + 32, ... go: to ask for each where it is needed
    // would be to wait for each, as the order might be what is written.
    constexpr int kOwn = (kM + 31) / 32;
    const ExpertPart& part = p.parts[rows.part];
    uint32_t offsets[kOwn];  // floats
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int pair = lists.order[item.first + min(lane + 32 * i, item.count - 1)];
      const int64_t bytes =
          pair / p.slots * part.out_token_stride + pair % p.slots * part.out_slot_stride;
      offsets[i] = static_cast<uint32_t>(bytes / static_cast<int64_t>(sizeof(float)));
    }
    float* const to = reinterpret_cast<float*>(part.out) + row;
#pragma unroll
    for (int j = 0; j < kM / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int place = 8 * j + 2 * (lane % 4) + i;
        const uint32_t offset =
            __shfl_sync(0xffffffffu, offsets[j / 4], 8 * (j % 4) + 2 * (lane % 4) + i);
        if (place >= item.count) continue;
        if (there[0]) to[offset] = acc[4 * j + i] + bias[0];
        if (there[1]) to[offset + 8] = acc[4 * j + 2 + i] + bias[1];
      }
    }
  }

  // Of gated products each part's warps finish some of the groups of eight pairs: gate's the first,
  // up's the others, and give the others the sums of theirs. Warps w of both parts have the same
  // rows.
  template <int kM, int kPart>
  struct Share {
    static constexpr int kFirst = kPart == 0 ? 0 : (kM / 8 + 1) / 2;
    static constexpr int kCount = kPart == 0 ? (kM / 8 + 1) / 2 : kM / 16;
  };
  template <int kM>
  __device__ void finish_gated(const ExpertItem& item, const ExpertRows<kGroups>& rows,
                               const float (&acc)[kM / 2]) {
    if (rows.part == 0) {
      finish_share<kM, 0>(item, rows, acc);
    } else {
      finish_share<kM, 1>(item, rows, acc);
    }
  }
  template <int kM, int kPart>
  __device__ void finish_share(const ExpertItem& item, const ExpertRows<kGroups>& rows,
                               const float (&acc)[kM / 2]) {
    using Given = Share<kM, 1 - kPart>;
    constexpr int kMost = Share<kM, 0>::kCount;
    const int pair_of_groups = warp / 4 % (kGroups / 2), thread = 32 * (warp % 4) + lane;
    float4* const own = Memory::exchange() + (2 * pair_of_groups + kPart) * kMost * 128 + thread;
    const float4* other =
        Memory::exchange() + (2 * pair_of_groups + 1 - kPart) * kMost * 128 + thread;
#pragma unroll
    for (int j = 0; j < Given::kCount; ++j) {
      const float* v = acc + 4 * (Given::kFirst + j);
      own[j * 128] = make_float4(v[0], v[1], v[2], v[3]);
    }
    meet_groups(1 + pair_of_groups);
    if (rows.tile < p.row_tiles) {
      if (p.activation == Activation::kSilu) {
        write_gated<kM, kPart, true>(item, rows.tile, acc, other);
      } else {
        write_gated<kM, kPart, false>(item, rows.tile, acc, other);
      }
    }
    meet_groups(1 + pair_of_groups);
  }
  // `acc` are sums of part kPart, `other` those of the other part. Neighbours swap a pair each, so
  // that one has two rows of one pair, which lie side by side in the next product's x. Rows past
  // the last are zeros already (gather_pairs).
  template <int kM, int kPart, bool kSilu>
  __device__ void write_gated(const ExpertItem& item, int tile, const float (&acc)[kM / 2],
                              const float4* other) {
    using Own = Share<kM, kPart>;
    const bool odd = lane / 4 % 2 != 0;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = tile * kTileRows + lane / 4 + 8 * r, even_row = row - odd;
      float bias[2] = {};
      for (int q = 0; q < 2; ++q) {
        if (row < p.weight.rows) bias[q] = p.bias(q, item.expert, row);
      }
      __nv_bfloat16* const to = p.gated_out + permuted_place(even_row);
#pragma unroll
      for (int j = 0; j < Own::kCount; ++j) {
        const float4 v = other[j * 128];
        const float theirs[2] = {r == 0 ? v.x : v.z, r == 0 ? v.y : v.w};
        float values[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float own = acc[4 * (Own::kFirst + j) + 2 * r + i];
          const float gate = (kPart == 0 ? own : theirs[i]) + bias[0];
          const float up = (kPart == 0 ? theirs[i] : own) + bias[1];
          values[i] = kSilu ? silu_gate(gate, up) : swiglu_clamped_gate(gate, up);
        }
        const float given = __shfl_xor_sync(0xffffffffu, odd ? values[0] : values[1], 4);
        const int place = 8 * (Own::kFirst + j) + 2 * (lane % 4) + odd;
        if (place >= item.count || even_row >= p.weight.rows) continue;
        const float low = odd ? given : values[0], high = odd ? values[1] : given;
        *reinterpret_cast<__nv_bfloat162*>(to + static_cast<int64_t>(item.first + place) *
                                                    p.gated_stride) =
            __floats2bfloat162_rn(low, even_row + 1 < p.weight.rows ? high : 0.0f);
      }
    }
  }

  __device__ void run() {
    int index = static_cast<int>(blockIdx.x);
    ExpertItem item = find_item(lists, index, row_blocks, kN);
    if (item.count > 0) start(item);
    while (item.count > 0) {
      constexpr int kNarrow = Shape::kBoxRows;
      index += static_cast<int>(gridDim.x);
      if (item.count <= kNarrow) {
        multiply<kNarrow>(item, index);
      } else if (kN == 128 && item.count <= kN / 2) {
        multiply<kN == 128 ? kN / 2 : kN>(item, index);
      } else {
        multiply<kN>(item, index);
      }
    }
  }
};

// The warp that feeds the others: lane 0 has activations copied, the others ask for weights.
template <typename Source, int kN, int kGroups>
__device__ void feed_items(const ExpertProduct& p, const CUtensorMap& x_map,
                           const ExpertLists& lists, int row_blocks, int lane) {
  using Shape = ExpertShape<kN, kGroups>;
  using Memory = ExpertMemory<kN, kGroups>;
  constexpr int kBoxRows = Shape::kBoxRows;
  constexpr bool kAsks = Source::kTileBytes > 0 && Source::kTileBytes < 8192;
  const int num_units = 2 * p.weight.num_tiles;
  int stage = 0, index = static_cast<int>(blockIdx.x);
  uint32_t parity = 1;
  for (ExpertItem item = find_item(lists, index, row_blocks, kN); item.count > 0;) {
    index += static_cast<int>(gridDim.x);
    const ExpertItem next = find_item(lists, index, row_blocks, kN);
    const ExpertRows<kGroups> rows(p, item.row_block, lane);
    const bool asks = kAsks && lane < Shape::kRowTiles && rows.tile < p.row_tiles;
    const uint8_t* from = nullptr;
    if (asks) {
      from = p.parts[rows.part].weight + item.expert * p.expert_bytes +
             rows.tile * int64_t{p.weight.num_tiles} * Source::kTileBytes;
    }
    const int boxes = (item.count + kBoxRows - 1) / kBoxRows;
    for (int unit = 0; unit < num_units; ++unit) {
      if (lane == 0) {
        uint64_t* const full = Memory::full(stage);
        barrier_wait(Memory::empty(stage), parity);
        std::byte* to = Memory::stage(stage);
        barrier_expect(full, static_cast<uint32_t>(boxes * kBoxRows * 256));
        for (int i = 0; i < boxes; ++i) {
          const int row = item.first + i * kBoxRows;
          std::byte* box = to + i * kBoxRows * 128;
          copy_box(box, &x_map, unit * kUnitColumns, row, full);
          copy_box(box + Shape::kBoxBytes, &x_map, unit * kUnitColumns + 64, row, full);
        }
      }
      __syncwarp();
      if (asks && unit % 2 == 0) {
        asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from),
                     "r"(Source::kTileBytes));
        from += Source::kTileBytes;
      }
      if (++stage == Shape::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
    item = next;
  }
}

template <typename Source, int kN, int kGroups>
__device__ __forceinline__ void multiply_items(const ExpertProduct& p, const CUtensorMap& x_map,
                                               const ExpertLists& lists) {
  using Shape = ExpertShape<kN, kGroups>;
  using Memory = ExpertMemory<kN, kGroups>;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Shape::kStages; ++i) {
      barrier_init(Memory::full(i), 1);
      barrier_init(Memory::empty(i), 4 * Shape::kGroups);
    }
    fence_barrier_init();
  }
  __syncthreads();
  may_start_next();
  wait_for_inputs();
  const int row_blocks = row_blocks_of(p, kGroups);
  if (warp >= 4) {
    take_registers<Shape::kConsumerRegisters>();
    ExpertConsumer<Source, kN, kGroups> consumer{.p = p,
                                                 .lists = lists,
                                                 .row_blocks = row_blocks,
                                                 .warp = warp - 4,
                                                 .lane = lane,
                                                 .raw = {},
                                                 .weight = p.weight};
    consumer.run();
    return;
  }
  give_registers<Shape::kProducerRegisters>();
  if (warp == 0) feed_items<Source, kN, kGroups>(p, x_map, lists, row_blocks, lane);
}

template <typename Source, int kN, int kGroups>
__global__ void __launch_bounds__(MatMulShape<kN, kGroups>::kThreads, 1)
    expert_wgmma(const __grid_constant__ ExpertProduct p, const __grid_constant__ CUtensorMap x_map,
                 const __grid_constant__ ExpertLists lists) {
  if constexpr (REALM_WGMMA) multiply_items<Source, kN, kGroups>(p, x_map, lists);
}

template <typename Source, int kN, int kGroups = groups_for(kN)>
Status launch_expert_wgmma(Context& context, const ExpertProduct& p, const ExpertLists& lists) {
  using Shape = ExpertShape<kN, kGroups>;
  const auto kernel = expert_wgmma<Source, kN, kGroups>;
  static const cudaError_t configured = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes);
  TRY(check(configured, "expert_matmul: shared memory"));
  const CUtensorMap map = TRY(map_rows(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, p.x16, p.k_padded,
                                       p.pairs(), 2 * p.k_padded, Shape::kBoxRows));
  const int64_t row_blocks = (p.row_tiles * p.num_parts + Shape::kRowTiles - 1) / Shape::kRowTiles;
  const auto grid = static_cast<unsigned>(
      std::min<int64_t>(row_blocks * most_expert_tiles(p, kN), context.num_sms));
  return launch("expert_matmul", kernel, grid, Shape::kThreads, Shape::kSharedBytes, context.stream,
                p, map, lists);
}

template <DType kType>
constexpr ExpertKernels expert_kernels() {
  return {.type = kType,
          .matvec = launch_expert_matvec<TileFormat<kType>>,
          .matmul_32 = launch_expert_wgmma<Tiled<kType>, 32>,
          .matmul_128 = launch_expert_wgmma<Tiled<kType>, 128>};
}

}  // namespace realm::cuda
