// Importing weights into tiles, and reading rows of them back (embeddings).
#include "backends/cuda/context.cuh"
#include "backends/cuda/tiles_grids.cuh"
#include "backends/cuda/tiles_rare.cuh"
#include "formats/quant/quant_table.h"

namespace realm::cuda {
namespace {

// One block a tile: 64 lanes of two units, each of two rows.
template <DType kType>
__global__ void pack_tiles(const uint8_t* rows_in, int64_t row_bytes, int count, int columns,
                           int num_tiles, uint8_t* tiles) {
  const int tile_index = static_cast<int>(blockIdx.x), row_tile = static_cast<int>(blockIdx.y);
  const int unit = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  uint8_t* tile =
      tiles + (static_cast<int64_t>(row_tile) * num_tiles + tile_index) * TileFormat<kType>::kBytes;
  for (int row = 0; row < 2; ++row) {
    const int r = row_tile * kTileRows + lane / 4 + 8 * row;
    TileFormat<kType>::pack(r < count ? rows_in + r * row_bytes : nullptr, columns, tile, unit,
                            lane, row, tile_index);
  }
}

// A thread gives the 32 columns that lane 4 (row % 8) + t has of a unit.
template <DType kType>
__global__ void gather(WeightSource w, int row_begin, const int32_t* ids, Rows out, int64_t dim,
                       float scale) {
  const int row = row_begin + ids[blockIdx.x], in_tile = row % kTileRows;
  float* to = out.row(blockIdx.x);
  for (int64_t chunk = threadIdx.x; chunk < dim / 32 + (dim % 32 != 0); chunk += blockDim.x) {
    const int unit = static_cast<int>(chunk / 4);
    const int lane = in_tile % 8 * 4 + static_cast<int>(chunk % 4), second = in_tile / 8;
    using Source = Tiled<kType>;
    const auto raw = Source::load(w, row / kTileRows, unit, lane);
    const auto factors = Source::factors(w, raw, row / kTileRows, unit, lane);
    uint32_t a[2][4][4];
    Source::template decode<0>(raw, factors, a[0]);
    Source::template decode<1>(raw, factors, a[1]);
#pragma unroll
    for (int s = 0; s < 8; ++s) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t* step = a[s / 4][s % 4];
        const float2 v = __bfloat1622float2(pair_of(second != 0 ? step[2 * i + 1] : step[2 * i]));
        const int64_t d = 32 * chunk + 4 * s + 2 * i;
        if (d < dim) to[d] = scale * v.x;
        if (d + 1 < dim) to[d + 1] = scale * v.y;
      }
    }
  }
}

template <DType kType>
Status launch_pack(cudaStream_t stream, const std::byte* rows_in, int64_t row_bytes, int64_t count,
                   int64_t k, std::byte* tiles) {
  const auto num_tiles = static_cast<unsigned>((k + kTileColumns - 1) / kTileColumns);
  const auto row_tiles = static_cast<unsigned>((count + kTileRows - 1) / kTileRows);
  pack_tiles<kType><<<dim3(num_tiles, row_tiles), 64, 0, stream>>>(
      reinterpret_cast<const uint8_t*>(rows_in), row_bytes, static_cast<int>(count),
      static_cast<int>(k), static_cast<int>(num_tiles), reinterpret_cast<uint8_t*>(tiles));
  return check_launch("packing a weight");
}

template <DType kType>
Status launch_gather(Context& context, const GatherRows& op, const WeightSource& source,
                     int row_begin) {
  gather<kType><<<static_cast<unsigned>(op.ids.dim(0)), 128, 0, context.stream>>>(
      source, row_begin, op.ids.as<const int32_t>(), Rows(op.out), op.table.dim(1), op.scale);
  return check_launch("gather");
}

struct Row {
  DType type;
  int tile_bytes;
  Status (*pack)(cudaStream_t, const std::byte*, int64_t, int64_t, int64_t, std::byte*);
  Status (*gather)(Context&, const GatherRows&, const WeightSource&, int);
};

template <DType kType>
constexpr Row row() {
  return {kType, TileFormat<kType>::kBytes, launch_pack<kType>, launch_gather<kType>};
}

constexpr Row kTable[] = {
    row<DType::kF16>(),     row<DType::kQ4_0>(),    row<DType::kQ8_0>(),   row<DType::kQ4_K>(),
    row<DType::kQ5_K>(),    row<DType::kQ6_K>(),    row<DType::kBF16>(),   row<DType::kQ4_1>(),
    row<DType::kQ5_0>(),    row<DType::kQ5_1>(),    row<DType::kQ2_K>(),   row<DType::kQ3_K>(),
    row<DType::kTQ1_0>(),   row<DType::kTQ2_0>(),   row<DType::kIQ4_NL>(), row<DType::kIQ4_XS>(),
    row<DType::kMXFP4>(),   row<DType::kIQ2_XXS>(), row<DType::kIQ2_XS>(), row<DType::kIQ2_S>(),
    row<DType::kIQ3_XXS>(), row<DType::kIQ3_S>(),   row<DType::kIQ1_S>(),  row<DType::kIQ1_M>(),
    row<DType::kQ8_1>(),    row<DType::kQ8_K>(),    row<DType::kNVFP4>(),  row<DType::kQ1_0>(),
    row<DType::kQ2_0>()};

const Row* find_row(DType type) {
  for (const Row& row : kTable) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

}  // namespace

bool has_tiles(DType type) {
  return find_row(type) != nullptr;
}

size_t tiled_bytes(DType type, int64_t rows, int64_t k) {
  const int64_t tiles =
      (rows + kTileRows - 1) / kTileRows * ((k + kTileColumns - 1) / kTileColumns);
  return static_cast<size_t>(tiles * find_row(type)->tile_bytes);
}

Status make_tiles(cudaStream_t stream, DType type, const std::byte* rows_in, int64_t count,
                  int64_t k, std::byte* tiles) {
  const auto bytes = static_cast<int64_t>(row_bytes(*find_block_format(type), k));
  return find_row(type)->pack(stream, rows_in, bytes, count, k, tiles);
}

Status gather_tiled(Context& context, const GatherRows& op, const Located& at) {
  const WeightSource source{.data = reinterpret_cast<const uint8_t*>(at.base),
                            .row_bytes = 0,
                            .rows = static_cast<int>(at.weight->rows),
                            .num_tiles = static_cast<int>((at.weight->k + 255) / 256),
                            .grids = context.grids};
  return find_row(op.table.dtype)->gather(context, op, source, static_cast<int>(at.row_begin));
}

}  // namespace realm::cuda
