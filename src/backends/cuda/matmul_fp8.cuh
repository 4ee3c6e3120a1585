// The matrix product for many tokens in FP8 (E4M3): weights go from their tiles through registers,
// where they are unpacked, scaled by their row and rounded to 8 bits, straight into wgmma as first
// operand, activations through shared memory. As matmul_wgmma.cuh, of which this has the order of
// blocks and the way out, but
// - a step is 32 columns, of which lane 4 g + t has 32 t + 8 s .. + 7 in step s of a unit's four;
// - the matrix units add 8-bit products with fewer bits than single precision has, so that the sums
//   of each unit of 128 columns are added up in registers of their own (two levels);
// - tokens are multiplied in kParts of kPartN, whose first sums have two places in turn: one part's
//   are added up while the next part's products run.
// A weight's element is code * row scale, the activations' x code * the token's scale: products of
// both are applied at the end. Limited by the matrix units and by what unpacking issues.
#pragma once

#include <algorithm>

#include "backends/cuda/async.cuh"
#include "backends/cuda/features.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/matmul_output.cuh"
#include "backends/cuda/tensor_map.cuh"
#include "backends/cuda/wgmma.cuh"

namespace realm::cuda {

inline constexpr float kE4m3Max = 448.0f;

struct Fp8Product {
  Product product;                             // x: E4M3, in the order of the steps
  const float* row_scales[MatMul::kMaxParts];  // of each part, from its first row on
  const float* x_scales;                       // [tokens]
};

struct Fp8Kernels {
  DType type;
  Status (*matmul)(Context&, const Fp8Product&);
  Status (*gated_matmul)(Context&, const Fp8Product&);  // or null
  // The scales of a weight's rows, from its tiles.
  Status (*scale_rows)(cudaStream_t, const WeightSource&, float* scales);
};

// Null for types that have no such kernels: their products stay in bfloat16.
const Fp8Kernels* find_fp8_kernels(DType type);

// Fewer are limited by memory, which FP8 does not help.
inline constexpr int kFp8TokensMin = 129;

// Whether the product with the op's parts of a type is one in FP8.
bool goes_to_fp8(const Context& context, const MatMul& op, DType type);

// x [tokens, k_padded] in E4M3, and what each token's are to be multiplied by.
struct Fp8Activations {
  const std::byte* x = nullptr;
  const float* scales = nullptr;
};
Result<Fp8Activations> quantize_activations(Context& context, const __nv_bfloat16* x,
                                            int64_t tokens, int64_t k_padded);
// Of a weight [rows, k] in tiles.
Status scale_rows_for_fp8(cudaStream_t stream, DType type, const std::byte* tiles, int64_t rows,
                          int64_t k, float* scales);
// As product_of.
Result<Fp8Product> fp8_product_of(const Context& context, const MatMul& op, int first,
                                  const Fp8Activations& x);

template <int kNumParts>
struct Fp8Shape {
  static constexpr int kPartN = 64, kParts = kNumParts, kN = kPartN * kParts;
  static constexpr int kGroups = 2, kRowTiles = 4 * kGroups;
  static constexpr int kThreads = 128 + 128 * kGroups;
  static constexpr int kStageBytes = kN * kUnitColumns;
  static constexpr int kStages = 8;
  static constexpr int kSharedBytes = kStages * kStageBytes + 1024 + 256;
};

// Four elements as E4M3, the first in the lowest byte; what is larger than 448 becomes that. Only
// from sm_89 on.
__device__ inline uint32_t pack_e4m3(float x0, float x1, float x2, float x3) {
  uint32_t packed = 0;
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
  asm("{\n.reg .b16 low, high;\n"
      "cvt.rn.satfinite.e4m3x2.f32 low, %2, %1;\n"
      "cvt.rn.satfinite.e4m3x2.f32 high, %4, %3;\n"
      "mov.b32 %0, {low, high};\n}\n"
      : "=r"(packed)
      : "f"(x0), "f"(x1), "f"(x2), "f"(x3));
#endif
  return packed;
}
// From two pairs of bfloat16 and a power of two.
__device__ inline uint32_t pack_e4m3(uint32_t low, uint32_t high, __nv_bfloat162 scale) {
  const uint32_t a = bits_of(__hmul2(pair_of(low), scale));
  const uint32_t b = bits_of(__hmul2(pair_of(high), scale));
  return pack_e4m3(__uint_as_float(a << 16), __uint_as_float(a & 0xffff0000u),
                   __uint_as_float(b << 16), __uint_as_float(b & 0xffff0000u));
}

// A unit's operands. `shrink`: of rows g and g + 8.
template <typename Source>
__device__ void decode_e4m3(const typename Source::Raw& raw,
                            const typename Source::Factors& factors,
                            const __nv_bfloat162 (&shrink)[2], uint32_t (&a)[4][4]) {
  const auto pack = [&](const uint32_t(&pairs)[4][4], int first) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        a[first + s / 2][2 * (s % 2) + row] =
            pack_e4m3(pairs[s][row], pairs[s][2 + row], shrink[row]);
      }
    }
  };
  uint32_t pairs[4][4];
  Source::template decode<0>(raw, factors, pairs);
  pack(pairs, 0);
  Source::template decode<1>(raw, factors, pairs);
  pack(pairs, 2);
}

template <typename Source, typename Shape>
__device__ __forceinline__ void multiply_rows_fp8(const Fp8Product& fp8, int tile, int token0,
                                                  int num_units, int lane, const std::byte* stages,
                                                  uint64_t* full, uint64_t* empty) {
  constexpr int kPartN = Shape::kPartN, kParts = Shape::kParts;
  const Product& p = fp8.product;
  const bool there = tile < p.num_row_tiles;
  const int clamped = min(tile, p.num_row_tiles - 1);
  int index = 0;
  if constexpr (!Source::kGated) {
    while (index + 1 < p.num_parts && clamped >= p.parts[index + 1].first_tile) ++index;
  }
  const ProductPart& part = p.parts[index];
  const int part_tile = clamped - (Source::kGated ? 0 : part.first_tile);
  const auto load = [&](int unit) {
    const int weight_tile = part.row_tile_begin * (Source::kGated ? 2 : 1) + part_tile;
    if constexpr (Source::kGated) {
      return Source::load(part.weight, p.parts[1].weight, weight_tile, unit, lane);
    } else {
      return Source::load(part.weight, weight_tile, unit, lane);
    }
  };
  // Rows g and g + 8; of gated sources one row of gate and the same of up.
  float scales[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = (Source::kGated ? 8 : 16) * part_tile + lane / 4 + (Source::kGated ? 0 : 8 * i);
    const float* of_part = fp8.row_scales[Source::kGated ? i : index];
    scales[i] = of_part[min(row, part.weight.rows - 1)];
  }
  const __nv_bfloat162 shrink[2] = {__float2bfloat162_rn(1.0f / scales[0]),
                                    __float2bfloat162_rn(1.0f / scales[1])};
  float acc[kParts][kPartN / 2], sums[2][kPartN / 2];
#pragma unroll
  for (int i = 0; i < kPartN / 2; ++i) {
#pragma unroll
    for (int h = 0; h < kParts; ++h) acc[h][i] = 0.0f;
    sums[0][i] = sums[1][i] = 0.0f;
  }
  typename Source::Raw raw = load(0);
  uint32_t a[4][4], next[4][4];
  // Without branches, past the end too: between products and the wait for them the compiler keeps
  // operands' registers from other use only where it sees them used again.
  const auto decode = [&](int unit, uint32_t(&to)[4][4]) {
    const auto factors =
        Source::factors(part.weight, raw, part.row_tile_begin + part_tile, unit, lane);
    decode_e4m3<Source>(raw, factors, shrink, to);
    raw = load(min(unit + 1, num_units - 1));
  };
  decode(0, a);
  wait_for_inputs();
  int stage = 0;
  uint32_t parity = 0;
  for (int unit = 0; unit < num_units; ++unit) {
    barrier_wait(full + stage, parity);
    const uint64_t x = swizzled_descriptor(shared_address(stages + stage * Shape::kStageBytes));
    const auto multiply = [&](int h) {
      hold(sums[h % 2]);
      wgmma_fence();
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        Wgmma<kPartN, WgmmaType::kE4M3>::run(sums[h % 2], a[s],
                                             x + h * (kPartN * kUnitColumns / 16) + 2 * s, s);
      }
      wgmma_commit();
    };
    const auto add_up = [&](int h) {
      hold(sums[h % 2]);
#pragma unroll
      for (int i = 0; i < kPartN / 2; ++i) acc[h][i] += sums[h % 2][i];
    };
    multiply(0);
    decode(unit + 1, next);
#pragma unroll
    for (int h = 1; h < kParts; ++h) {
      multiply(h);
      wgmma_wait<1>();
      add_up(h - 1);
    }
    wgmma_wait<0>();
    add_up(kParts - 1);
    if (lane == 0) barrier_arrive(empty + stage);
#pragma unroll
    for (int i = 0; i < 16; ++i) a[i / 4][i % 4] = next[i / 4][i % 4];
    if (++stage == Shape::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
  if (!there) return;
#pragma unroll
  for (int h = 0; h < kParts; ++h) {
#pragma unroll
    for (int j = 0; j < kPartN / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int token = token0 + h * kPartN + 8 * j + 2 * (lane % 4) + i;
        const float of_token = fp8.x_scales[min(token, p.tokens - 1)];
        acc[h][4 * j + i] *= scales[0] * of_token;
        acc[h][4 * j + 2 + i] *= scales[1] * of_token;
      }
    }
    write_groups<Source::kGated>(part, p, part_tile, token0 + h * kPartN, p.tokens, 8, lane,
                                 *reinterpret_cast<const float(*)[kPartN / 8][4]>(acc[h]));
  }
}

template <typename Source, typename Shape>
__device__ __forceinline__ void multiply_block_fp8(const Fp8Product& fp8, const CUtensorMap& x_map,
                                                   int row_blocks, int token_blocks) {
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
  const int num_units = 2 * fp8.product.parts[0].weight.num_tiles;
  const BlockPlace place(static_cast<int>(blockIdx.x), row_blocks, token_blocks);
  const int token0 = place.tokens * Shape::kN;
  if (warp < 4) {
    give_registers<24>();
    if (threadIdx.x > 0) return;
    wait_for_inputs();
    int stage = 0;
    uint32_t parity = 1;
    for (int unit = 0; unit < num_units; ++unit) {
      barrier_wait(empty + stage, parity);
      barrier_expect(full + stage, Shape::kStageBytes);
      copy_box(stages + stage * Shape::kStageBytes, &x_map, unit * kUnitColumns / 2, token0,
               full + stage);
      if (++stage == Shape::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
    return;
  }
  take_registers<240>();
  multiply_rows_fp8<Source, Shape>(fp8, place.rows * Shape::kRowTiles + warp - 4, token0, num_units,
                                   lane, stages, full, empty);
}

template <typename Source, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    matmul_fp8(const Fp8Product fp8, const __grid_constant__ CUtensorMap x_map, int row_blocks,
               int token_blocks) {
  if constexpr (REALM_WGMMA) {
    multiply_block_fp8<Source, Shape>(fp8, x_map, row_blocks, token_blocks);
  }
}

template <typename Source, typename Shape>
Status launch_fp8_as(Context& context, const Fp8Product& fp8) {
  const auto kernel = matmul_fp8<Source, Shape>;
  static const cudaError_t configured = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes);
  TRY(check(configured, "matmul: shared memory"));
  const Product& p = fp8.product;
  // Two elements are a column of 16 bits to the copy engine.
  const CUtensorMap map = TRY(map_rows(CU_TENSOR_MAP_DATA_TYPE_UINT16, p.x, p.k_padded / 2,
                                       p.tokens, p.k_padded, Shape::kN));
  const int row_blocks = (p.num_row_tiles + Shape::kRowTiles - 1) / Shape::kRowTiles;
  const int token_blocks = (p.tokens + Shape::kN - 1) / Shape::kN;
  return launch("matmul", kernel, static_cast<unsigned>(row_blocks * token_blocks), Shape::kThreads,
                Shape::kSharedBytes, context.stream, fp8, map, row_blocks, token_blocks);
}

// Wide tiles unpack each weight for more tokens, narrow ones leave fewer multiprocessors idle in
// the last round.
template <typename Source>
Status launch_fp8(Context& context, const Fp8Product& fp8) {
  using Wide = Fp8Shape<3>;
  using Narrow = Fp8Shape<2>;
  const Product& p = fp8.product;
  const auto rounds = [&](int tokens) {
    const int blocks = (p.num_row_tiles + Wide::kRowTiles - 1) / Wide::kRowTiles *
                       ((p.tokens + tokens - 1) / tokens);
    return (blocks + context.num_sms - 1) / context.num_sms;
  };
  return 3 * rounds(Wide::kN) <= 2 * rounds(Narrow::kN) + rounds(Narrow::kN) / 8
             ? launch_fp8_as<Source, Wide>(context, fp8)
             : launch_fp8_as<Source, Narrow>(context, fp8);
}

// A scale is a power of two, so that unpacking can apply it to bfloat16 without another rounding;
// the largest element of a row comes to lie in 224 .. 448. A warp takes a tile of 16 rows.
template <typename Source>
__global__ void __launch_bounds__(32) scale_rows(const WeightSource weight, float* scales) {
  const int lane = static_cast<int>(threadIdx.x), tile = static_cast<int>(blockIdx.x);
  float most[2] = {};
  for (int unit = 0; unit < 2 * weight.num_tiles; ++unit) {
    const auto raw = Source::load(weight, tile, unit, lane);
    const auto factors = Source::factors(weight, raw, tile, unit, lane);
    uint32_t a[2][4][4];
    Source::template decode<0>(raw, factors, a[0]);
    Source::template decode<1>(raw, factors, a[1]);
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      const float2 pair = __bfloat1622float2(pair_of(a[i / 16][i / 4 % 4][i % 4]));
      float& of_row = most[i % 2];
      of_row = fmaxf(of_row, fmaxf(fabsf(pair.x), fabsf(pair.y)));
    }
  }
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    most[row] = fmaxf(most[row], __shfl_xor_sync(0xffffffffu, most[row], 1));
    most[row] = fmaxf(most[row], __shfl_xor_sync(0xffffffffu, most[row], 2));
    const int at = tile * kTileRows + lane / 4 + 8 * row;
    if (lane % 4 != 0 || at >= weight.rows) continue;
    // Rows of zeros, of numbers too small for such a scale and of what is no number: 1.
    const float scale = exp2f(ceilf(log2f(most[row] / kE4m3Max)));
    scales[at] = scale > 1e-30f && scale < 1e30f ? scale : 1.0f;
  }
}

template <typename Source>
Status launch_scale_rows(cudaStream_t stream, const WeightSource& weight, float* scales) {
  const auto tiles = static_cast<unsigned>((weight.rows + kTileRows - 1) / kTileRows);
  scale_rows<Source><<<tiles, 32, 0, stream>>>(weight, scales);
  return check_launch("scaling a weight's rows");
}

template <DType kType>
constexpr Fp8Kernels fp8_kernels() {
  return {.type = kType,
          .matmul = launch_fp8<Tiled<kType>>,
          .gated_matmul = nullptr,
          .scale_rows = launch_scale_rows<Tiled<kType>>};
}

template <DType kType>
constexpr Fp8Kernels gated_fp8_kernels() {
  Fp8Kernels kernels = fp8_kernels<kType>();
  kernels.gated_matmul = launch_fp8<GatedTiled<kType>>;
  return kernels;
}

}  // namespace realm::cuda
