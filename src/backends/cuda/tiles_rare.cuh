// Tiles of the formats that are met least: 8-bit codes that were meant for activations, the 4-bit
// floats of NVFP4, and one or two bits with a scale for each 128 or 64 columns.
#pragma once

#include "backends/cuda/tiles_planes.cuh"

namespace realm::cuda {

// 32 codes of 8 bits, or null, as Q8_0's tiles have them.
__device__ inline void pack_bytes(const int8_t* codes, uint8_t* tile, int unit, int lane, int row) {
  for (int e = 0; e < 32; ++e) {
    tile[unit * 2048 + (2 * row + e / 16) * 512 + lane * 16 + e % 16] =
        static_cast<uint8_t>((codes != nullptr ? codes[e] : 0) + 128);
  }
}

// ---- Q8_1: Q8_0's tiles; the sums are not needed.
template <>
struct TileFormat<DType::kQ8_1> : TileFormat<DType::kQ8_0> {
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const int block = tile_index * 8 + unit * 4 + lane % 4;
    const bool there = row_in != nullptr && 32 * block < columns;
    const BlockQ8_1* b = reinterpret_cast<const BlockQ8_1*>(row_in) + block;
    pack_bytes(there ? b->qs : nullptr, tile, unit, lane, row);
    reinterpret_cast<uint16_t*>(tile + 4096 + unit * 128 + lane * 4)[row] =
        there ? b->d : uint16_t{0};
  }
};

// ---- Q8_K: the same codes, a float a row.
template <>
struct TileFormat<DType::kQ8_K> : TileFormat<DType::kQ8_0> {
  using Codes = TileFormat<DType::kQ8_0>;
  static constexpr int kRowsAt = 4096, kBytes = 4160;
  struct Raw : Codes::Raw {
    float of_row[2];
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
#pragma unroll
    for (int i = 0; i < 4; ++i) raw.q[i] = load_16(tile + unit * 2048 + i * 512 + lane * 16);
    raw.d = 0;
    const auto* d = reinterpret_cast<const float*>(tile + kRowsAt);
    raw.of_row[0] = __ldg(d + lane / 4);
    raw.of_row[1] = __ldg(d + lane / 4 + 8);
    return raw;
  }
  static __device__ Factors factors(const Raw& raw, int, int) {
    return {{raw.of_row[0], raw.of_row[1]}};
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const bool there = row_in != nullptr && tile_index * kTileColumns < columns;
    const BlockQ8_K* b = reinterpret_cast<const BlockQ8_K*>(row_in) + tile_index;
    pack_bytes(there ? b->qs + 128 * unit + 32 * (lane % 4) : nullptr, tile, unit, lane, row);
    if (unit == 0 && lane % 4 == 0) {
      reinterpret_cast<float*>(tile + kRowsAt)[lane / 4 + 8 * row] = there ? b->d : 0.0f;
    }
  }
};

struct ScalesNvfp4 {  // an unsigned E4M3 for each 16: bytes of both halves of row g, then of g + 8
  static constexpr int kBytes = 256;
  using Raw = uint32_t;
  static __device__ Raw load(const uint8_t* at, int unit, int lane) {
    return __ldg(reinterpret_cast<const uint32_t*>(at + unit * 128 + lane * 4));
  }
  // In half precision's place an E4M3 is 2^-8 of itself, also where it is subnormal; the doubled
  // codes take a half.
  static __device__ float scale(Raw raw, int i) {
    return 128.0f * half_bits(static_cast<uint16_t>(((raw >> (8 * i)) & 0x7fu) << 7));
  }
  static __device__ void read(Raw raw, uint32_t (&scales)[2][2]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scales[i / 2][i % 2] = twice(scale(raw, i));
  }
  static __device__ const uint8_t* codes(const uint8_t* row, int chunk) {
    return block_at<BlockNVFP4>(row, chunk / 2).qs + 16 * (chunk % 2);
  }
  static __device__ uint32_t code(const uint8_t* qs, int i) {
    return (qs[8 * (i / 16) + i % 8] >> (4 * (i / 8 % 2))) & 15u;
  }
  static __device__ void pack(const uint8_t* row_in, bool there, int chunk, uint8_t* at, int unit,
                              int lane, int row) {
    for (int half = 0; half < 2; ++half) {
      uint8_t d = 0;
      if (there) d = block_at<BlockNVFP4>(row_in, chunk / 2).d[2 * (chunk % 2) + half];
      at[unit * 128 + lane * 4 + 2 * row + half] = d == 0x7f ? uint8_t{0} : d;  // no number
    }
  }
};
template <>
struct TileFormat<DType::kNVFP4> : TableTiles<Fp4Table, ScalesNvfp4> {};

// ---- Q1_0: a bit, set where the weight is negative; fp16 a row and unit, rows g and g + 8 side by
// side.
template <>
struct TileFormat<DType::kQ1_0> {
  static constexpr int kScalesAt = 512, kBytes = 576;
  static constexpr int kDepth = 4;
  struct Raw {
    uint2 signs;  // of both rows
    uint32_t d;
  };
  struct Factors {
    uint32_t d[2];
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    return {__ldg(reinterpret_cast<const uint2*>(tile + unit * 256 + lane * 8)),
            __ldg(reinterpret_cast<const uint32_t*>(tile + kScalesAt + unit * 32) + lane / 4)};
  }
  static __device__ Factors factors(const Raw& raw, int, int) {
    const float2 d = __half22float2(*reinterpret_cast<const __half2*>(&raw.d));
    return {{twice(d.x), twice(d.y)}};
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t signs = row == 0 ? raw.signs.x : raw.signs.y;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          a[s][2 * i + row] = f.d[row] ^ Planes::one<15>(signs, 8 * kPart + 2 * s + i);
        }
      }
    }
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const int block = tile_index * 2 + unit;
    const bool there = row_in != nullptr && 128 * block < columns;
    const BlockQ1_0* b = reinterpret_cast<const BlockQ1_0*>(row_in) + block;
    const int first = 32 * (lane % 4);
    Planes::pack_one(tile + unit * 256 + lane * 8 + 4 * row, [&](int i) -> uint32_t {
      return there ? ((b->qs[(first + i) / 8] >> (i % 8)) & 1u) ^ 1u : 0u;
    });
    if (lane % 4 == 0) {
      reinterpret_cast<uint16_t*>(tile + kScalesAt + unit * 32)[2 * (lane / 4) + row] =
          there ? b->d : uint16_t{0};
    }
  }
};

// ---- Q2_0: the ternary formats' codes; fp16 a row and 64 columns.
template <>
struct TileFormat<DType::kQ2_0> : TernaryTiles<BlockTQ2_0> {
  static constexpr int kScalesAt = 1024, kBytes = 1152;
  // Of a lane's row g, in its unit.
  static __device__ int scale_place(int unit, int lane) { return unit * 64 + lane / 2 * 4; }
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    const uint32_t d =
        __ldg(reinterpret_cast<const uint32_t*>(tile + kScalesAt + scale_place(unit, lane)));
    return {load_16(tile + unit * 512 + lane * 16),
            {static_cast<uint16_t>(d), static_cast<uint16_t>(d >> 16)}};
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const int block = tile_index * 4 + unit * 2 + lane % 4 / 2;
    const bool there = row_in != nullptr && 64 * block < columns;
    const BlockQ2_0* b = reinterpret_cast<const BlockQ2_0*>(row_in) + block;
    const int first = 32 * (lane % 2);
    Planes::pack_two(tile + unit * 512 + lane * 16 + 8 * row, [&](int i) -> uint32_t {
      return there ? (b->qs[(first + i) / 4] >> (2 * (i % 4))) & 3u : 1u;
    });
    if (lane % 2 == 0) {
      reinterpret_cast<uint16_t*>(tile + kScalesAt + scale_place(unit, lane))[row] =
          there ? b->d : uint16_t{0};
    }
  }
};

}  // namespace realm::cuda
