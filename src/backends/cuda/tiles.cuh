// Weights in the order in which the matrix units take them. A tile is 16 rows by 256 columns; in
// it, every lane of a warp finds its operand of mma.m16n8k16 (and of wgmma, whose four warps take
// 16 rows each) in 16-byte pieces, so that a warp reads whole kilobytes and nothing passes through
// shared memory on its way to the registers.
//
// A tile has two units of 128 columns. Lane 4 g + t holds, of rows g and g + 8, the 32 consecutive
// columns 32 t .. 32 t + 31 of a unit: a whole sub-block, so that one scale serves 32 (or two serve
// 16 each). Step s of the unit's eight multiplies columns 32 t + 4 s .. + 3 of every t: which
// columns meet in a step does not matter as long as the activations are cut the same way.
//
// TileFormat<type> says how the bits of a type lie in a tile:
//   Raw load(tile, unit, lane)           one lane's bits of a unit, by 16-byte loads
//   Factors factors(raw, unit, lane)     its scales, ready to multiply
//   decode<half>(raw, factors, a)        operands of steps 4 half .. 4 half + 3:
//     a[s][0], a[s][2]: row g, a[s][1], a[s][3]: row g + 8 (pairs of bfloat16)
//   pack(row blocks, ...)                the inverse, from the file's blocks, for import
// Some have load_gated(gate, up, half, unit, lane) too: eight rows, a half of the tile's, of each
// of two tiles, as rows g and g + 8.
#pragma once

#include <cuda_bf16.h>

#include "backends/cuda/block_codes.cuh"

namespace realm::cuda {

inline constexpr int kTileRows = 16, kTileColumns = 256, kUnitColumns = 128;

__device__ inline uint32_t bits_of(__nv_bfloat162 pair) {
  return *reinterpret_cast<uint32_t*>(&pair);
}
__device__ inline __nv_bfloat162 pair_of(uint32_t bits) {
  return *reinterpret_cast<__nv_bfloat162*>(&bits);
}
__device__ inline uint32_t pack_pair(float low, float high) {
  return bits_of(__floats2bfloat162_rn(low, high));
}

// Weights are read once: they would only drive the activations out of the L1 cache.
__device__ inline uint4 load_16(const uint8_t* p) {
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(p));
  return v;
}

// (code * scale + shift) of two 7-bit codes at bits 0 and 16; `offset` is what the code of zero is.
// 0x4300 is 128 in bfloat16, and a code below 128 in its low bits adds to it exactly.
__device__ inline uint32_t scaled_codes(uint32_t codes_and_128, uint32_t offset_128, uint32_t scale,
                                        uint32_t shift) {
  const __nv_bfloat162 code = __hsub2(pair_of(codes_and_128), pair_of(offset_128));
  return bits_of(__hfma2(code, pair_of(scale), pair_of(shift)));
}
__device__ inline uint32_t scaled_codes(uint32_t codes_and_128, uint32_t offset_128,
                                        uint32_t scale) {
  const __nv_bfloat162 code = __hsub2(pair_of(codes_and_128), pair_of(offset_128));
  return bits_of(__hmul2(code, pair_of(scale)));
}

__device__ inline uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Pair j (0..3) of the 8 four-bit codes of a word, over 128: code 2 j is in nibble j, code 2 j + 1
// in nibble j + 4.
__device__ inline uint32_t nibble_pair(uint32_t word, int j) {
  // (word & mask) | 128 in one instruction; left to itself the compiler makes two of it, for it can
  // encode only one of the constants.
  uint32_t pair;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;"
      : "=r"(pair)
      : "r"(word >> (4 * j)), "r"(0x000f000fu), "r"(0x43004300u));
  return pair;
}
// The word from its 8 codes.
template <typename CodeAt>
__device__ uint32_t pack_nibbles(CodeAt&& code_at) {
  uint32_t word = 0;
  for (int e = 0; e < 8; ++e) word |= (code_at(e) & 15u) << (4 * (e / 2 + 4 * (e % 2)));
  return word;
}

// Byte i of a word, less 128: 0x4b000000 is 2^23, to which a byte adds exactly.
__device__ inline float biased_byte(uint32_t word, int i) {
  return __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7440u | static_cast<uint32_t>(i))) -
         8388736.0f;
}

inline constexpr uint32_t kZero128 = 0x43004300u;       // 128
inline constexpr uint32_t kEight128 = 0x43084308u;      // 136: a code of 8 is zero
inline constexpr uint32_t kThirtyTwo128 = 0x43204320u;  // 160

template <DType kType>
struct TileFormat;

// Whether a format, or a source of a product, decodes to half precision instead (HalfOf,
// matmul_half.cuh): then its activations are in half precision too.
template <typename FormatOrSource>
inline constexpr bool kIsHalf = false;

// ---- 16-bit floats: four 16-byte pieces for each of the two rows.
template <bool kHalf>
struct FloatTiles {
  static constexpr int kBytes = 8192;
  static constexpr int kDepth = 2;  // units in flight per warp
  struct Raw {
    uint4 q[8];  // [row][piece of 8 columns]
  };
  struct Factors {};
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
#pragma unroll
    for (int i = 0; i < 8; ++i) raw.q[i] = load_16(tile + unit * 4096 + i * 512 + lane * 16);
    return raw;
  }
  static __device__ Raw load_gated(const uint8_t* gate, const uint8_t* up, int half, int unit,
                                   int lane) {
    Raw raw;
    const int at = unit * 4096 + half * 2048 + lane * 16;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      raw.q[i] = load_16(gate + at + i * 512);
      raw.q[4 + i] = load_16(up + at + i * 512);
    }
    return raw;
  }
  static __device__ Factors factors(const Raw&, int, int) {
    return {};
  }
  static __device__ uint32_t convert(uint32_t bits) {
    if constexpr (!kHalf) return bits;
    const float2 f = __half22float2(*reinterpret_cast<__half2*>(&bits));
    return pack_pair(f.x, f.y);
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors&, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int step = 4 * kPart + s;
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint4& q = raw.q[4 * row + step / 2];
        a[s][row] = convert(step % 2 == 0 ? q.x : q.z);
        a[s][2 + row] = convert(step % 2 == 0 ? q.y : q.w);
      }
    }
  }
  // `row_in` null: past the last row. `columns`: how many the row has.
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const int first = tile_index * kTileColumns + unit * kUnitColumns + 32 * (lane % 4);
    for (int e = 0; e < 32; ++e) {
      const bool there = row_in != nullptr && first + e < columns;
      uint16_t* to =
          reinterpret_cast<uint16_t*>(tile + unit * 4096 + (4 * row + e / 8) * 512 + lane * 16);
      to[e % 8] = there ? reinterpret_cast<const uint16_t*>(row_in)[first + e] : uint16_t{0};
    }
  }
};
template <>
struct TileFormat<DType::kBF16> : FloatTiles<false> {};
template <>
struct TileFormat<DType::kF16> : FloatTiles<true> {};

// ---- Q8_0: codes biased by 128, two 16-byte pieces a row; then the scales.
template <>
struct TileFormat<DType::kQ8_0> {
  static constexpr int kBytes = 4352;
  static constexpr int kDepth = 3;
  struct Raw {
    uint4 q[4];  // [row][piece of 16 columns]
    uint32_t d;  // two fp16
  };
  struct Factors {
    float d[2];
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
#pragma unroll
    for (int i = 0; i < 4; ++i) raw.q[i] = load_16(tile + unit * 2048 + i * 512 + lane * 16);
    raw.d = __ldg(reinterpret_cast<const uint32_t*>(tile + 4096 + unit * 128 + lane * 4));
    return raw;
  }
  static __device__ Raw load_gated(const uint8_t* gate, const uint8_t* up, int half, int unit,
                                   int lane) {
    Raw raw;
    const int at = unit * 2048 + half * 1024 + lane * 16;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      raw.q[i] = load_16(gate + at + i * 512);
      raw.q[2 + i] = load_16(up + at + i * 512);
    }
    const int scale = 4096 + unit * 128 + lane * 4 + half * 2;
    raw.d = __ldg(reinterpret_cast<const uint16_t*>(gate + scale)) |
            static_cast<uint32_t>(__ldg(reinterpret_cast<const uint16_t*>(up + scale))) << 16;
    return raw;
  }
  static __device__ Factors factors(const Raw& raw, int, int) {
    const float2 d = __half22float2(*reinterpret_cast<const __half2*>(&raw.d));
    return {{d.x, d.y}};
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q[2 * row + kPart], s);
        const float d = f.d[row];
        a[s][row] = pack_pair(biased_byte(word, 0) * d, biased_byte(word, 1) * d);
        a[s][2 + row] = pack_pair(biased_byte(word, 2) * d, biased_byte(word, 3) * d);
      }
    }
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const int block = tile_index * 8 + unit * 4 + lane % 4;
    const bool there = row_in != nullptr && 32 * block < columns;
    const BlockQ8_0* b = reinterpret_cast<const BlockQ8_0*>(row_in) + block;
    for (int e = 0; e < 32; ++e) {
      tile[unit * 2048 + (2 * row + e / 16) * 512 + lane * 16 + e % 16] =
          static_cast<uint8_t>((there ? b->qs[e] : 0) + 128);
    }
    reinterpret_cast<uint16_t*>(tile + 4096 + unit * 128 + lane * 4)[row] =
        there ? b->d : uint16_t{0};
  }
};

// ---- Q4_0: one 16-byte piece a row; then the scales.
template <>
struct TileFormat<DType::kQ4_0> {
  static constexpr int kBytes = 2304;
  static constexpr int kDepth = 4;
  struct Raw {
    uint4 q[2];
    uint32_t d;
  };
  struct Factors {
    uint32_t d[2];  // twice the same bfloat16
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q[0] = load_16(tile + unit * 1024 + lane * 16);
    raw.q[1] = load_16(tile + unit * 1024 + 512 + lane * 16);
    raw.d = __ldg(reinterpret_cast<const uint32_t*>(tile + 2048 + unit * 128 + lane * 4));
    return raw;
  }
  static __device__ Factors factors(const Raw& raw, int, int) {
    const float2 d = __half22float2(*reinterpret_cast<const __half2*>(&raw.d));
    return {{pack_pair(d.x, d.x), pack_pair(d.y, d.y)}};
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q[row], 2 * kPart + s / 2);
        a[s][row] = scaled_codes(nibble_pair(word, 2 * (s % 2)), kEight128, f.d[row]);
        a[s][2 + row] = scaled_codes(nibble_pair(word, 2 * (s % 2) + 1), kEight128, f.d[row]);
      }
    }
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const int block = tile_index * 8 + unit * 4 + lane % 4;
    const bool there = row_in != nullptr && 32 * block < columns;
    const BlockQ4_0* b = reinterpret_cast<const BlockQ4_0*>(row_in) + block;
    auto* to = reinterpret_cast<uint32_t*>(tile + unit * 1024 + row * 512 + lane * 16);
    for (int w = 0; w < 4; ++w) {
      to[w] = pack_nibbles([&](int e) -> uint32_t {
        const int i = 8 * w + e;
        return there ? static_cast<uint32_t>(b->qs[i % 16]) >> (4 * (i / 16)) : 8u;
      });
    }
    reinterpret_cast<uint16_t*>(tile + 2048 + unit * 128 + lane * 4)[row] =
        there ? b->d : uint16_t{0};
  }
};

// ---- Q4_K and Q5_K: a 16-byte header per row: d and dmin; then, of each unit's four 12-bit fields
// (6 bits of scale, 6 of minimum), the first 32 bits; then the last 16 of both.
struct KHeader {
  static __device__ void write(const uint8_t (&scales)[12], uint16_t d, uint16_t dmin, bool there,
                               uint8_t* to) {
    auto* words = reinterpret_cast<uint32_t*>(to);
    words[0] = there ? d | (static_cast<uint32_t>(dmin) << 16) : 0u;
    words[3] = 0;
    for (int unit = 0; unit < 2; ++unit) {
      uint64_t fields = 0;
      for (int j = 0; j < 4 && there; ++j) {
        const KScaleMin sub = k_scale_min(scales, 4 * unit + j);
        fields |= (sub.scale | (static_cast<uint64_t>(sub.min) << 6)) << (12 * j);
      }
      words[1 + unit] = static_cast<uint32_t>(fields);
      words[3] |= static_cast<uint32_t>(fields >> 32) << (16 * unit);
    }
  }
  // The scale and the negative minimum of sub-block 4 unit + t.
  static __device__ void read(const uint4& header, int unit, int lane, uint32_t& scale,
                              uint32_t& minus_min) {
    const uint32_t low = unit == 0 ? header.y : header.z, high = header.w >> (16 * unit);
    const bool last = (lane & 3) == 3;
    const uint32_t field = __funnelshift_r(last ? high : low, high, last ? 4u : 12u * (lane & 3));
    const float2 d = __half22float2(*reinterpret_cast<const __half2*>(&header.x));
    // 0x4b000000 is 2^23: six bits in its mantissa add to it exactly.
    const float s = __uint_as_float(0x4b000000u | (field & 63u)) - 8388608.0f;
    const float m = __uint_as_float(0x4b000000u | ((field >> 6) & 63u)) - 8388608.0f;
    const float ds = d.x * s, dm = -(d.y * m);
    scale = pack_pair(ds, ds);
    minus_min = pack_pair(dm, dm);
  }
};

template <>
struct TileFormat<DType::kQ4_K> {
  static constexpr int kBytes = 2304;
  static constexpr int kDepth = 3;
  struct Raw {
    uint4 q[2], header[2];
  };
  struct Factors {
    uint32_t scale[2], minus_min[2];
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q[0] = load_16(tile + unit * 1024 + lane * 16);
    raw.q[1] = load_16(tile + unit * 1024 + 512 + lane * 16);
    raw.header[0] = load_16(tile + 2048 + (lane / 4) * 16);
    raw.header[1] = load_16(tile + 2048 + (lane / 4 + 8) * 16);
    return raw;
  }
  static __device__ Raw load_gated(const uint8_t* gate, const uint8_t* up, int half, int unit,
                                   int lane) {
    Raw raw;
    const int at = unit * 1024 + half * 512 + lane * 16;
    const int header = 2048 + (lane / 4 + 8 * half) * 16;
    raw.q[0] = load_16(gate + at);
    raw.q[1] = load_16(up + at);
    raw.header[0] = load_16(gate + header);
    raw.header[1] = load_16(up + header);
    return raw;
  }
  static __device__ Factors factors(const Raw& raw, int unit, int lane) {
    Factors f;
    KHeader::read(raw.header[0], unit, lane, f.scale[0], f.minus_min[0]);
    KHeader::read(raw.header[1], unit, lane, f.scale[1], f.minus_min[1]);
    return f;
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q[row], 2 * kPart + s / 2);
        a[s][row] =
            scaled_codes(nibble_pair(word, 2 * (s % 2)), kZero128, f.scale[row], f.minus_min[row]);
        a[s][2 + row] = scaled_codes(nibble_pair(word, 2 * (s % 2) + 1), kZero128, f.scale[row],
                                     f.minus_min[row]);
      }
    }
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const bool there = row_in != nullptr && tile_index * kTileColumns < columns;
    const BlockQ4_K* b = reinterpret_cast<const BlockQ4_K*>(row_in) + tile_index;
    const int run = 4 * unit + lane % 4;
    auto* to = reinterpret_cast<uint32_t*>(tile + unit * 1024 + row * 512 + lane * 16);
    for (int w = 0; w < 4; ++w) {
      to[w] = pack_nibbles([&](int e) -> uint32_t {
        if (!there) return 0;
        return static_cast<uint32_t>(b->qs[32 * (run / 2) + 8 * w + e]) >> (4 * (run % 2));
      });
    }
    if (unit == 0 && lane % 4 == 0) {
      const uint8_t none[12] = {};
      KHeader::write(there ? b->scales : none, there ? b->d : 0, there ? b->dmin : 0, there,
                     tile + 2048 + (lane / 4 + 8 * row) * 16);
    }
  }
};

// ---- Q5_K: Q4_K with a word a row of fifth bits: of a pair, 16 bits apart.
template <>
struct TileFormat<DType::kQ5_K> {
  static constexpr int kBytes = 2816;
  static constexpr int kDepth = 3;
  struct Raw {
    uint4 q[2], header[2];
    uint2 high;
  };
  using Factors = TileFormat<DType::kQ4_K>::Factors;
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q[0] = load_16(tile + unit * 1024 + lane * 16);
    raw.q[1] = load_16(tile + unit * 1024 + 512 + lane * 16);
    raw.high = __ldg(reinterpret_cast<const uint2*>(tile + 2048 + unit * 256 + lane * 8));
    raw.header[0] = load_16(tile + 2560 + (lane / 4) * 16);
    raw.header[1] = load_16(tile + 2560 + (lane / 4 + 8) * 16);
    return raw;
  }
  static __device__ Factors factors(const Raw& raw, int unit, int lane) {
    Factors f;
    KHeader::read(raw.header[0], unit, lane, f.scale[0], f.minus_min[0]);
    KHeader::read(raw.header[1], unit, lane, f.scale[1], f.minus_min[1]);
    return f;
  }
  // Where the first of pair 4 w + j has its bit: bit 2 w + j % 2 of byte j / 2, so that an integer
  // product's operand has them at the same bit of all its bytes.
  static __device__ constexpr int place(int pair) {
    return 2 * (pair / 4) + pair % 2 + 8 * (pair % 4 / 2);
  }
  static __device__ uint32_t fifth_bits(uint32_t word, int pair) {
    const int by = place(pair) - 4;
    return (by < 0 ? word << -by : word >> by) & 0x00100010u;
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q[row], 2 * kPart + s / 2);
        const uint32_t high = row == 0 ? raw.high.x : raw.high.y;
        const int pair = 8 * kPart + 2 * s;
        a[s][row] = scaled_codes(nibble_pair(word, 2 * (s % 2)) | fifth_bits(high, pair), kZero128,
                                 f.scale[row], f.minus_min[row]);
        a[s][2 + row] =
            scaled_codes(nibble_pair(word, 2 * (s % 2) + 1) | fifth_bits(high, pair + 1), kZero128,
                         f.scale[row], f.minus_min[row]);
      }
    }
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const bool there = row_in != nullptr && tile_index * kTileColumns < columns;
    const BlockQ5_K* b = reinterpret_cast<const BlockQ5_K*>(row_in) + tile_index;
    const int run = 4 * unit + lane % 4;
    auto* to = reinterpret_cast<uint32_t*>(tile + unit * 1024 + row * 512 + lane * 16);
    for (int w = 0; w < 4; ++w) {
      to[w] = pack_nibbles([&](int e) -> uint32_t {
        if (!there) return 0;
        return static_cast<uint32_t>(b->qs[32 * (run / 2) + 8 * w + e]) >> (4 * (run % 2));
      });
    }
    uint32_t high = 0;
    for (int i = 0; i < 32 && there; ++i) {
      high |= ((static_cast<uint32_t>(b->qh[i]) >> run) & 1u) << (place(i / 2) + 16 * (i % 2));
    }
    reinterpret_cast<uint32_t*>(tile + 2048 + unit * 256 + lane * 8)[row] = high;
    if (unit == 0 && lane % 4 == 0) {
      const uint8_t none[12] = {};
      KHeader::write(there ? b->scales : none, there ? b->d : 0, there ? b->dmin : 0, there,
                     tile + 2560 + (lane / 4 + 8 * row) * 16);
    }
  }
};

// ---- Q6_K: low nibbles as Q4_K's; two words a row of upper bit pairs: pair p of a word's eight
// has them at bits 2 p and 16 + 2 p; then two signed scales a row and the row's d.
template <>
struct TileFormat<DType::kQ6_K> {
  static constexpr int kBytes = 3360;
  static constexpr int kDepth = 3;
  struct Raw {
    uint4 q[2], high;
    uint32_t scales;  // bytes, biased by 128: both halves of row g, then of row g + 8
    uint16_t d[2];
  };
  struct Factors {
    uint32_t scale[2][2];  // [row][half]
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q[0] = load_16(tile + unit * 1024 + lane * 16);
    raw.q[1] = load_16(tile + unit * 1024 + 512 + lane * 16);
    raw.high = load_16(tile + 2048 + unit * 512 + lane * 16);
    raw.scales = __ldg(reinterpret_cast<const uint32_t*>(tile + 3072 + unit * 128 + lane * 4));
    const auto* d = reinterpret_cast<const uint16_t*>(tile + 3328);
    raw.d[0] = __ldg(d + lane / 4);
    raw.d[1] = __ldg(d + lane / 4 + 8);
    return raw;
  }
  static __device__ Factors factors(const Raw& raw, int, int) {
    Factors f;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float d = half_bits(raw.d[row]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float s = d * biased_byte(raw.scales, 2 * row + half);
        f.scale[row][half] = pack_pair(s, s);
      }
    }
    return f;
  }
  // Where the first of pair 4 w + j has its bits: at 4 w + 2 (j % 2) of byte j / 2, as Q5_K's.
  static __device__ constexpr int place(int pair) {
    return 4 * (pair / 4) + 2 * (pair % 2) + 8 * (pair % 4 / 2);
  }
  static __device__ uint32_t upper_bits(uint32_t word, int pair) {
    const int by = place(pair) - 4;
    return (by < 0 ? word << -by : word >> by) & 0x00300030u;
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q[row], 2 * kPart + s / 2);
        const uint32_t high = word_of(raw.high, 2 * row + kPart);
        a[s][row] = scaled_codes(nibble_pair(word, 2 * (s % 2)) | upper_bits(high, 2 * s),
                                 kThirtyTwo128, f.scale[row][kPart]);
        a[s][2 + row] =
            scaled_codes(nibble_pair(word, 2 * (s % 2) + 1) | upper_bits(high, 2 * s + 1),
                         kThirtyTwo128, f.scale[row][kPart]);
      }
    }
  }
  static __device__ uint32_t code(const BlockQ6_K& b, int i) {
    const int quarter = i / 32 % 4, l = i % 32, half = i / 128;
    const uint32_t low = b.ql[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2));
    const uint32_t high = b.qh[32 * half + l] >> (2 * quarter);
    return (low & 15u) | ((high & 3u) << 4);
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const bool there = row_in != nullptr && tile_index * kTileColumns < columns;
    const BlockQ6_K* b = reinterpret_cast<const BlockQ6_K*>(row_in) + tile_index;
    const int first = 128 * unit + 32 * (lane % 4);
    auto* to = reinterpret_cast<uint32_t*>(tile + unit * 1024 + row * 512 + lane * 16);
    for (int w = 0; w < 4; ++w) {
      to[w] =
          pack_nibbles([&](int e) -> uint32_t { return there ? code(*b, first + 8 * w + e) : 0u; });
    }
    auto* upper = reinterpret_cast<uint32_t*>(tile + 2048 + unit * 512 + lane * 16 + row * 8);
    for (int w = 0; w < 2; ++w) {
      uint32_t word = 0;
      for (int i = 0; i < 16 && there; ++i) {
        word |= (code(*b, first + 16 * w + i) >> 4) << (place(i / 2) + 16 * (i % 2));
      }
      upper[w] = word;
    }
    for (int half = 0; half < 2; ++half) {
      tile[3072 + unit * 128 + lane * 4 + 2 * row + half] =
          static_cast<uint8_t>((there ? b->scales[first / 16 + half] : 0) + 128);
    }
    if (unit == 0 && lane % 4 == 0) {
      reinterpret_cast<uint16_t*>(tile + 3328)[lane / 4 + 8 * row] = there ? b->d : uint16_t{0};
    }
  }
};

// Where a kernel finds a weight, tiled or not.
struct WeightSource {
  const uint8_t* data;
  int64_t row_bytes;    // of rows as in the file
  int rows, num_tiles;  // rows; tiles along a row
  const IqGrids* grids;
};

// Tiled types.
template <DType kType, typename FormatOfType = TileFormat<kType>>
struct Tiled {
  static constexpr bool kGated = false;
  // Operands are not the bits of memory themselves.
  static constexpr bool kUnpacks = kType != DType::kBF16 && kType != DType::kF16;
  using Format = FormatOfType;
  using Raw = typename Format::Raw;
  using Factors = typename Format::Factors;
  static constexpr int kDepth = Format::kDepth, kTileBytes = Format::kBytes;
  static __device__ Raw load(const WeightSource& w, int row_tile, int unit, int lane) {
    const int64_t tile = static_cast<int64_t>(row_tile) * w.num_tiles + unit / 2;
    return Format::load(w.data + tile * Format::kBytes, unit % 2, lane);
  }
  static __device__ Factors factors(const WeightSource&, const Raw& raw, int, int unit, int lane) {
    return Format::factors(raw, unit % 2, lane);
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
    Format::template decode<kPart>(raw, f, a);
  }
};

// Of gate and up, two weights of one type: eight rows of each as one tile, so that both sums of an
// output meet in one thread. Tile 2 i + h is half h of either's tile i.
template <DType kType>
struct GatedTiled : Tiled<kType> {
  static constexpr bool kGated = true;
  static __device__ auto load(const WeightSource& gate, const WeightSource& up, int row_tile,
                              int unit, int lane) {
    using Format = TileFormat<kType>;
    const int64_t tile = static_cast<int64_t>(row_tile / 2) * gate.num_tiles + unit / 2;
    return Format::load_gated(gate.data + tile * Format::kBytes, up.data + tile * Format::kBytes,
                              row_tile % 2, unit % 2, lane);
  }
};

}  // namespace realm::cuda
