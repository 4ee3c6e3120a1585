// The matrix product for few tokens: decode. Blocks stay and take tiles of 16 weight rows in turn;
// in each, eight warps take every eighth unit of 128 columns. A warp's units follow each other
// across tiles without a gap, kDepth of them on their way from memory at any time, so that the
// memory never idles while a tile's sums are added up. Products are mma.m16n8k16's, whose n are
// tokens. Bytes moved: each weight once, in whole 512-byte pieces per warp, and x from the L1
// cache. Limited by memory bandwidth; unpacking takes 2 to 4 instructions a weight and lane.
#pragma once

#include "backends/cuda/elementwise.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"

namespace realm::cuda {

inline constexpr int kMatVecWarps = 8;

// One part of a unit: four steps. xs: the 32 columns of this lane's tokens, in pairs.
template <typename Source, int kPart, int kTokenTiles>
__device__ void multiply_part(const typename Source::Raw& raw,
                              const typename Source::Factors& factors,
                              const uint4 (&xs)[kTokenTiles][4], float (&acc)[kTokenTiles][4]) {
  uint32_t a[4][4];
  Source::template decode<kPart>(raw, factors, a);
#pragma unroll
  for (int s = 0; s < 4; ++s) {
#pragma unroll
    for (int n = 0; n < kTokenTiles; ++n) {
      const uint4& x = xs[n][2 * kPart + s / 2];
      mma_16<kIsHalf<Source>>(acc[n], a[s], s % 2 == 0 ? x.x : x.z, s % 2 == 0 ? x.y : x.w);
    }
  }
}

// Where a warp's units of one part of a tile begin, and how many it has: units warp, warp + 8, ...,
// that is every fourth tile along the row, always the same half of it.
template <typename Format>
__device__ const uint8_t* first_unit(const ProductPart& part, int tile, int warp) {
  const int64_t row_tile = part.row_tile_begin + tile - part.first_tile;
  return part.weight.data +
         (row_tile * part.weight.num_tiles + warp / 2) * static_cast<int64_t>(Format::kBytes);
}

// The sums of the block's warps, added up and written: of a tile of one part, or of gate and up.
template <int kTokenTiles, bool kGated>
__device__ void finish_tile(
    const Product& p, int tile,
    const float (&partial)[kMatVecWarps][kGated ? 2 : 1][kTokenTiles][4][32]) {
  // Value i of lane 4 g + t is row g + 8 (i / 2), token 2 t + i % 2.
  for (int index = static_cast<int>(threadIdx.x); index < 128 * kTokenTiles;
       index += 32 * kMatVecWarps) {
    const int row = index % 16, token = index / 16;
    if (token >= p.tokens) continue;
    const int i = 2 * (row / 8) + token % 2, from = row % 8 * 4 + token % 8 / 2;
    float sums[2] = {};
#pragma unroll
    for (int q = 0; q < (kGated ? 2 : 1); ++q) {
#pragma unroll
      for (int w = 0; w < kMatVecWarps; ++w) sums[q] += partial[w][q][token / 8][i][from];
    }
    if constexpr (kGated) {
      write_gated(p, tile * kTileRows + row, token, sums[0], sums[1]);
    } else {
      const ProductPart& part = p.part_of(tile);
      write_output(part, p.accumulate, (tile - part.first_tile) * kTileRows + row, token, sums[0]);
    }
  }
}

// How much of x a block keeps in shared memory; where it is more, x is read through the L1 cache.
// Two blocks have to fit on a multiprocessor, each with up to 17 KiB of sums besides.
inline size_t shared_x_bytes(const Context& context) {
  const int room = std::min(context.shared_max, context.shared_per_sm / 2) - 18 * 1024;
  return static_cast<size_t>(std::clamp(room, 0, 88 * 1024));
}

// Formats that look codes up (tiles_grids.cuh) do that in a table in shared memory.
template <typename Format>
__device__ void share_table() {
  if constexpr (requires { Format::share(); }) {
    Format::share();
    __syncthreads();
  }
}

template <typename Format, int kTokenTiles, bool kGated, bool kSharedX>
__global__ void __launch_bounds__(32 * kMatVecWarps, 2) matvec(const Product p) {
  extern __shared__ uint4 shared_x[];
  using Raw = typename Format::Raw;
  constexpr int kDepth = Format::kDepth, kParts = kGated ? 2 : 1;
  constexpr int64_t kStep = int64_t{kMatVecWarps / 2} * Format::kBytes;
  __shared__ float partial[2][kMatVecWarps][kParts][kTokenTiles][4][32];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int half = warp % 2;
  const int num_tiles = kGated ? p.num_row_tiles / 2 : p.num_row_tiles;
  const int num_units = (2 * p.parts[0].weight.num_tiles - warp + kMatVecWarps - 1) / kMatVecWarps;

  // What comes next from memory.
  int fetch_tile = static_cast<int>(blockIdx.x), fetch_part = 0, fetch_left = num_units;
  const auto part_of = [&](int tile, int part) -> const ProductPart& {
    return kGated ? p.parts[part] : p.part_of(tile);
  };
  const auto start_of = [&](int tile, int part) {
    // Gate and up begin at the same tile, up's first_tile notwithstanding.
    const ProductPart& from = part_of(tile, part);
    return first_unit<Format>(from, kGated ? tile + from.first_tile : tile, warp);
  };
  const uint8_t* from = num_units > 0 ? start_of(fetch_tile, 0) : nullptr;
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
  share_table<Format>();
  may_start_next();
  wait_for_inputs();

  // Weights on their way hold the scoreboards that loads of x from memory would share and so wait
  // for; loads from shared memory do not.
  const __nv_bfloat16* x_base = p.x;
  if constexpr (kSharedX) {
    const auto* from_x = reinterpret_cast<const uint4*>(p.x);
    const int pieces = static_cast<int>(p.tokens * p.k_padded / 8);
    for (int i = static_cast<int>(threadIdx.x); i < pieces; i += 32 * kMatVecWarps) {
      shared_x[i] = from_x[i];
    }
    __syncthreads();
    x_base = reinterpret_cast<const __nv_bfloat16*>(shared_x);
  }
  // Lanes of tokens that are not there work on the last one's copy; nothing reads their sums.
  const __nv_bfloat16* x_start[kTokenTiles];
#pragma unroll
  for (int n = 0; n < kTokenTiles; ++n) {
    const int token = min(8 * n + lane / 4, p.tokens - 1);
    x_start[n] = x_base + token * p.k_padded + warp * kUnitColumns + 32 * (lane % 4);
  }
  float acc[kParts][kTokenTiles][4] = {};
  int tile = static_cast<int>(blockIdx.x), part = 0, left = num_units, x_offset = 0, buffer = 0;
  const auto end_tile = [&] {
  // Two buffers, so that one barrier a tile is enough.
#pragma unroll
    for (int q = 0; q < kParts; ++q) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          partial[buffer][warp][q][n][i][lane] = acc[q][n][i];
          acc[q][n][i] = 0.0f;
        }
      }
    }
    __syncthreads();
    finish_tile<kTokenTiles, kGated>(p, tile, partial[buffer]);
    buffer ^= 1;
    tile += static_cast<int>(gridDim.x);
  };
  if (num_units <= 0) {
    while (tile < num_tiles) end_tile();
    return;
  }
  while (tile < num_tiles) {
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      uint4 xs[kTokenTiles][4];
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        const auto* x = reinterpret_cast<const uint4*>(x_start[n] + x_offset);
#pragma unroll
        for (int i = 0; i < 4; ++i) xs[n][i] = x[i];
      }
      const auto factors = Format::factors(raw[d], half, lane);
      if (!kGated || part == 0) {
        multiply_part<Format, 0, kTokenTiles>(raw[d], factors, xs, acc[0]);
        multiply_part<Format, 1, kTokenTiles>(raw[d], factors, xs, acc[0]);
      } else {
        multiply_part<Format, 0, kTokenTiles>(raw[d], factors, xs, acc[kParts - 1]);
        multiply_part<Format, 1, kTokenTiles>(raw[d], factors, xs, acc[kParts - 1]);
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

template <typename Format, int kTokenTiles, bool kGated, bool kSharedX>
Status launch_matvec_as(Context& context, const Product& p) {
  const auto kernel = matvec<Format, kTokenTiles, kGated, kSharedX>;
  const size_t shared = kSharedX ? static_cast<size_t>(p.tokens * p.k_padded * 2) : 0;
  if constexpr (kSharedX) {
    static const cudaError_t configured =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_x_bytes(context)));
    TRY(check(configured, "matmul: shared memory"));
  }
  const int tiles = kGated ? p.num_row_tiles / 2 : p.num_row_tiles;
  const auto grid = static_cast<unsigned>(std::min(tiles, 2 * context.num_sms));
  return launch("matmul", kernel, grid, 32 * kMatVecWarps, shared, context.stream, p);
}

template <typename Format, bool kGated>
Status launch_matvec_of(Context& context, const Product& p) {
  if (static_cast<size_t>(p.tokens * p.k_padded * 2) <= shared_x_bytes(context)) {
    return launch_matvec_as<Format, 1, kGated, true>(context, p);
  }
  return launch_matvec_as<Format, 1, kGated, false>(context, p);
}

template <typename Format>
Status launch_matvec(Context& context, const Product& p) {
  return launch_matvec_of<Format, false>(context, p);
}

template <typename Format>
Status launch_gated_matvec(Context& context, const Product& p) {
  return launch_matvec_of<Format, true>(context, p);
}

}  // namespace realm::cuda
