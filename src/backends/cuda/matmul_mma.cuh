// The matrix product for many tokens where there is no wgmma: 16 or 32 weight rows a warp, by
// kN tokens, on mma.m16n8k16. As in matmul_wgmma.cuh weights go from memory to registers,
// where they are unpacked to bfloat16, and are first operands there; activations come through
// shared memory, copied asynchronously into one of two stages of 128 columns while the other is
// multiplied. Columns are never split among blocks: sums have one order for any number of tokens.
#pragma once

#include "backends/cuda/features.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/matmul_output.cuh"
#include "backends/cuda/mma.cuh"

namespace realm::cuda {

// kTiles: of 16 rows a warp; each operand of tokens is used for all of them.
template <int kN, int kTiles>
struct MmaShape {
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kRowTiles = kWarps * kTiles;
  static constexpr int kRowBytes = 2 * kUnitColumns, kPieces = kRowBytes / 16;
  static constexpr int kStageBytes = kN * kRowBytes, kSharedBytes = 2 * kStageBytes;
  // Eight rows' pieces of one column lie in different banks.
  static __device__ uint32_t at(int row, int piece) {
    return static_cast<uint32_t>(row * kRowBytes + (piece ^ row % 8) * 16);
  }
};

template <int kN, int kTiles>
__device__ void copy_unit(const Product& p, int token0, int unit, uint32_t to) {
  using Shape = MmaShape<kN, kTiles>;
#pragma unroll
  for (int i = 0; i < kN * Shape::kPieces / Shape::kThreads; ++i) {
    const int index = i * Shape::kThreads + static_cast<int>(threadIdx.x);
    const int row = index / Shape::kPieces, piece = index % Shape::kPieces;
    const int token = min(token0 + row, p.tokens - 1);
    copy_16(to + Shape::at(row, piece), p.x + token * p.k_padded + unit * kUnitColumns + 8 * piece,
            token0 + row < p.tokens);
  }
  commit_copies();
}

// Half of a unit: four steps of all tiles with all tokens.
template <int kN, int kTiles, int kPart, bool kHalf>
__device__ void multiply_half(const uint32_t (&a)[kTiles][4][4], uint32_t x, int lane,
                              float (&acc)[kTiles][kN / 8][4]) {
  using Shape = MmaShape<kN, kTiles>;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
#pragma unroll
    for (int j = 0; j < kN / 8; j += 2) {
      uint32_t b[4];
      const int piece = 2 * (4 * kPart + s) + lane / 8 % 2;
      load_matrices(b, x + Shape::at(8 * (j + lane / 16) + lane % 8, piece));
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        mma_16<kHalf>(acc[i][j], a[i][s], b[0], b[1]);
        mma_16<kHalf>(acc[i][j + 1], a[i][s], b[2], b[3]);
      }
    }
  }
}

template <typename Source, int kN, int kTiles>
__device__ __forceinline__ void multiply_with_mma(const Product& p, int row_blocks,
                                                  int token_blocks) {
  using Shape = MmaShape<kN, kTiles>;
  extern __shared__ uint4 mma_stages[];
  const uint32_t stages = shared_address(mma_stages);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const BlockPlace place(static_cast<int>(blockIdx.x), row_blocks, token_blocks);
  const int first_tile = place.rows * Shape::kRowTiles + warp * kTiles, token0 = place.tokens * kN;
  const int num_units = 2 * p.parts[0].weight.num_tiles;
  // Tiles past the end are copies of the last one, never written.
  const auto part_of = [&](int i) -> const ProductPart& {
    return Source::kGated ? p.parts[0] : p.part_of(min(first_tile + i, p.num_row_tiles - 1));
  };
  const auto part_tile = [&](int i) {
    const int tile = min(first_tile + i, p.num_row_tiles - 1);
    return Source::kGated ? tile : tile - part_of(i).first_tile;
  };
  const auto load = [&](int i, int unit) {
    const ProductPart& part = part_of(i);
    const int tile = part.row_tile_begin * (Source::kGated ? 2 : 1) + part_tile(i);
    if constexpr (Source::kGated) {
      return Source::load(part.weight, p.parts[1].weight, tile, unit, lane);
    } else {
      return Source::load(part.weight, tile, unit, lane);
    }
  };
  typename Source::Raw raw[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    if (num_units > 0) raw[i] = load(i, 0);
  }
  may_start_next();
  wait_for_inputs();
  float acc[kTiles][kN / 8][4] = {};
  if (num_units > 0) copy_unit<kN, kTiles>(p, token0, 0, stages);
  for (int unit = 0; unit < num_units; ++unit) {
    wait_for_copies<0>();
    __syncthreads();  // the unit is there, and everyone is done with the one before
    if (unit + 1 < num_units) {
      copy_unit<kN, kTiles>(p, token0, unit + 1, stages + (unit + 1) % 2 * Shape::kStageBytes);
    }
    const uint32_t x = stages + unit % 2 * Shape::kStageBytes;
    const auto factors_of = [&](int i) {
      const ProductPart& part = part_of(i);
      return Source::factors(part.weight, raw[i], part.row_tile_begin + part_tile(i), unit, lane);
    };
    uint32_t a[kTiles][4][4];
#pragma unroll
    for (int i = 0; i < kTiles; ++i) Source::template decode<0>(raw[i], factors_of(i), a[i]);
    multiply_half<kN, kTiles, 0, kIsHalf<Source>>(a, x, lane, acc);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      Source::template decode<1>(raw[i], factors_of(i), a[i]);
      if (unit + 1 < num_units) raw[i] = load(i, unit + 1);
    }
    multiply_half<kN, kTiles, 1, kIsHalf<Source>>(a, x, lane, acc);
  }
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    if (first_tile + i >= p.num_row_tiles) break;
    write_groups<Source::kGated>(part_of(i), p, part_tile(i), token0, p.tokens, 8, lane, acc[i]);
  }
}

template <typename Source, int kN, int kTiles>
__global__ void __launch_bounds__(MmaShape<kN, kTiles>::kThreads, 2)
    matmul_mma(const Product p, int row_blocks, int token_blocks) {
  if constexpr (REALM_MMA) multiply_with_mma<Source, kN, kTiles>(p, row_blocks, token_blocks);
}

template <typename Source, int kN, int kTiles>
Status launch_mma_as(Context& context, const Product& p) {
  using Shape = MmaShape<kN, kTiles>;
  const auto kernel = matmul_mma<Source, kN, kTiles>;
  static const cudaError_t configured = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes);
  TRY(check(configured, "matmul: shared memory"));
  const int row_blocks = (p.num_row_tiles + Shape::kRowTiles - 1) / Shape::kRowTiles;
  const int token_blocks = (p.tokens + kN - 1) / kN;
  return launch("matmul", kernel, static_cast<unsigned>(row_blocks * token_blocks), Shape::kThreads,
                Shape::kSharedBytes, context.stream, p, row_blocks, token_blocks);
}

// Wide tiles unpack each weight for more tokens, narrow ones make more blocks. What is not unpacked
// takes registers that the sums of 128 tokens would need.
template <typename Source>
Status launch_mma(Context& context, const Product& p) {
  return p.tokens <= 64 ? launch_mma_as<Source, 32, 1>(context, p) : launch_mma_as < Source,
         Source::kUnpacks ? 128 : 64, 2 > (context, p);
}

}  // namespace realm::cuda
