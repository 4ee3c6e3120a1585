// Tiles of the formats whose codes are planes of bits with a scale for each 16 or 32 of them: the
// code of a column is put together from a plane of 4, 2 or 1 bits a column each (tiles.cuh has the
// order of rows and columns), and becomes a bfloat16 by being placed in the mantissa of 128, or by
// a table of 16 values. A plane of 4 bits is 16 bytes a row and lane; of 2 bits, 8 bytes, so that a
// lane's two rows are one load; of 1 bit, 4 bytes.
#pragma once

#include "backends/cuda/tiles.cuh"

namespace realm::cuda {

// Column i of a lane's 32 is element i % 2 of pair i / 2. In a word of 2-bit codes pair p (of 8)
// has its two at bits 2 p and 16 + 2 p; in one of 1-bit codes pair p (of 16) at bits p and 16 + p.
struct Planes {
  template <typename CodeAt>
  static __device__ void pack_four(uint8_t* to, CodeAt&& code_at) {
    for (int w = 0; w < 4; ++w) {
      reinterpret_cast<uint32_t*>(to)[w] = pack_nibbles([&](int e) { return code_at(8 * w + e); });
    }
  }
  template <typename CodeAt>
  static __device__ void pack_two(uint8_t* to, CodeAt&& code_at) {
    for (int w = 0; w < 2; ++w) {
      uint32_t word = 0;
      for (int i = 0; i < 16; ++i) word |= code_at(16 * w + i) << (2 * (i / 2) + 16 * (i % 2));
      reinterpret_cast<uint32_t*>(to)[w] = word;
    }
  }
  template <typename CodeAt>
  static __device__ void pack_one(uint8_t* to, CodeAt&& code_at) {
    uint32_t word = 0;
    for (int i = 0; i < 32; ++i) word |= code_at(i) << (i / 2 + 16 * (i % 2));
    *reinterpret_cast<uint32_t*>(to) = word;
  }
  // Pair p, over 128.
  static __device__ uint32_t two(uint32_t word, int p) {
    uint32_t pair;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;"
        : "=r"(pair)
        : "r"(word >> (2 * p)), "r"(0x00030003u), "r"(0x43004300u));
    return pair;
  }
  // Pair p's bits at bit kAt.
  template <int kAt>
  static __device__ uint32_t one(uint32_t word, int p) {
    return (p < kAt ? word << (kAt - p) : word >> (p - kAt)) & (0x00010001u << kAt);
  }
};

__device__ inline uint32_t twice(float value) {
  return pack_pair(value, value);
}
__device__ inline uint32_t zero_of(int code) {  // in pairs over 128
  return 0x43004300u + static_cast<uint32_t>(code) * 0x00010001u;
}

// ---- Blocks of 32: 4 bits and a fifth where kFifth, a scale and where kMin a minimum.
template <typename Block, bool kFifth, bool kMin>
struct BlockTiles {
  static constexpr int kHighAt = 2048, kScalesAt = kHighAt + (kFifth ? 512 : 0);
  static constexpr int kLaneScales = kMin ? 8 : 4;
  static constexpr int kBytes = kScalesAt + 64 * kLaneScales;
  static constexpr int kDepth = 3;
  struct Raw {
    uint4 q[2];
    uint2 high;
    uint2 d;  // fp16: both rows' scales, both rows' minima
  };
  struct Factors {
    uint32_t d[2], m[2];
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q[0] = load_16(tile + unit * 1024 + lane * 16);
    raw.q[1] = load_16(tile + unit * 1024 + 512 + lane * 16);
    if constexpr (kFifth) {
      raw.high = __ldg(reinterpret_cast<const uint2*>(tile + kHighAt + unit * 256 + lane * 8));
    }
    const uint8_t* scales = tile + kScalesAt + (unit * 32 + lane) * kLaneScales;
    if constexpr (kMin) {
      raw.d = __ldg(reinterpret_cast<const uint2*>(scales));
    } else {
      raw.d.x = __ldg(reinterpret_cast<const uint32_t*>(scales));
    }
    return raw;
  }
  static __device__ Factors factors(const Raw& raw, int, int) {
    Factors f;
    const float2 d = __half22float2(*reinterpret_cast<const __half2*>(&raw.d.x));
    f.d[0] = twice(d.x);
    f.d[1] = twice(d.y);
    if constexpr (kMin) {
      const float2 m = __half22float2(*reinterpret_cast<const __half2*>(&raw.d.y));
      f.m[0] = twice(m.x);
      f.m[1] = twice(m.y);
    }
    return f;
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
    const uint32_t zero = kMin ? kZero128 : zero_of(16);
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q[row], 2 * kPart + s / 2);
        const uint32_t high = row == 0 ? raw.high.x : raw.high.y;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          uint32_t code = nibble_pair(word, 2 * (s % 2) + i);
          if constexpr (kFifth) code |= Planes::one<4>(high, 8 * kPart + 2 * s + i);
          a[s][2 * i + row] = kMin ? scaled_codes(code, zero, f.d[row], f.m[row])
                                   : scaled_codes(code, zero, f.d[row]);
        }
      }
    }
  }
  static __device__ uint32_t code(const Block& b, int i) {
    uint32_t code = (b.qs[i % 16] >> (4 * (i / 16))) & 15u;
    if constexpr (kFifth) code |= ((b.qh[i / 8] >> (i % 8)) & 1u) << 4;
    return code;
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const int block = tile_index * 8 + unit * 4 + lane % 4;
    const bool there = row_in != nullptr && 32 * block < columns;
    const Block* b = reinterpret_cast<const Block*>(row_in) + block;
    const auto code_at = [&](int i) -> uint32_t { return there ? code(*b, i) : kMin ? 0u : 16u; };
    Planes::pack_four(tile + unit * 1024 + row * 512 + lane * 16,
                      [&](int i) { return code_at(i) & 15u; });
    if constexpr (kFifth) {
      Planes::pack_one(tile + kHighAt + unit * 256 + lane * 8 + 4 * row,
                       [&](int i) { return code_at(i) >> 4; });
    }
    auto* scales = reinterpret_cast<uint16_t*>(tile + kScalesAt + (unit * 32 + lane) * kLaneScales);
    scales[row] = there ? b->d : uint16_t{0};
    if constexpr (kMin) scales[2 + row] = there ? b->m : uint16_t{0};
  }
};
template <>
struct TileFormat<DType::kQ4_1> : BlockTiles<BlockQ4_1, false, true> {};
template <>
struct TileFormat<DType::kQ5_0> : BlockTiles<BlockQ5_0, true, false> {};
template <>
struct TileFormat<DType::kQ5_1> : BlockTiles<BlockQ5_1, true, true> {};

// ---- Q2_K: a byte of scale and minimum for each 16, d and dmin a row.
template <>
struct TileFormat<DType::kQ2_K> {
  static constexpr int kScalesAt = 1024, kRowsAt = 1280, kBytes = 1344;
  static constexpr int kDepth = 4;
  struct Raw {
    uint4 q;          // [row][half of the columns]
    uint32_t scales;  // bytes: both halves of row g, then of row g + 8
    uint32_t d[2];    // fp16: d and dmin of a row
  };
  struct Factors {
    uint32_t scale[2][2], minus_min[2][2];  // [row][half]
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q = load_16(tile + unit * 512 + lane * 16);
    raw.scales = __ldg(reinterpret_cast<const uint32_t*>(tile + kScalesAt + unit * 128 + lane * 4));
    const auto* d = reinterpret_cast<const uint32_t*>(tile + kRowsAt);
    raw.d[0] = __ldg(d + lane / 4);
    raw.d[1] = __ldg(d + lane / 4 + 8);
    return raw;
  }
  // Nibble i of a word, as a float: 0x4b000000 is 2^23.
  static __device__ float nibble(uint32_t word, int i) {
    return __uint_as_float(0x4b000000u | ((word >> (4 * i)) & 15u)) - 8388608.0f;
  }
  static __device__ Factors factors(const Raw& raw, int, int) {
    Factors f;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float2 d = __half22float2(*reinterpret_cast<const __half2*>(&raw.d[row]));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        f.scale[row][half] = twice(d.x * nibble(raw.scales, 4 * row + 2 * half));
        f.minus_min[row][half] = twice(-(d.y * nibble(raw.scales, 4 * row + 2 * half + 1)));
      }
    }
    return f;
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q, 2 * row + kPart);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          a[s][2 * i + row] = scaled_codes(Planes::two(word, 2 * s + i), kZero128,
                                           f.scale[row][kPart], f.minus_min[row][kPart]);
        }
      }
    }
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const bool there = row_in != nullptr && tile_index * kTileColumns < columns;
    const BlockQ2_K* b = reinterpret_cast<const BlockQ2_K*>(row_in) + tile_index;
    const int run = 4 * unit + lane % 4;
    Planes::pack_two(tile + unit * 512 + lane * 16 + 8 * row, [&](int i) -> uint32_t {
      return there ? (b->qs[32 * (run / 4) + i] >> (2 * (run % 4))) & 3u : 0u;
    });
    for (int half = 0; half < 2; ++half) {
      tile[kScalesAt + unit * 128 + lane * 4 + 2 * row + half] =
          there ? b->scales[2 * run + half] : uint8_t{0};
    }
    if (unit == 0 && lane % 4 == 0) {
      auto* d = reinterpret_cast<uint16_t*>(tile + kRowsAt) + 2 * (lane / 4 + 8 * row);
      d[0] = there ? b->d : uint16_t{0};
      d[1] = there ? b->dmin : uint16_t{0};
    }
  }
};

// ---- Q3_K: 2 bits and a third; a signed scale for each 16, in a byte; d a row.
template <>
struct TileFormat<DType::kQ3_K> {
  static constexpr int kHighAt = 1024, kScalesAt = 1536, kRowsAt = 1792, kBytes = 1824;
  static constexpr int kDepth = 4;
  struct Raw {
    uint4 q;
    uint2 high;       // of both rows
    uint32_t scales;  // bytes, biased by 128: both halves of row g, then of row g + 8
    uint16_t d[2];
  };
  struct Factors {
    uint32_t scale[2][2];  // [row][half]
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q = load_16(tile + unit * 512 + lane * 16);
    raw.high = __ldg(reinterpret_cast<const uint2*>(tile + kHighAt + unit * 256 + lane * 8));
    raw.scales = __ldg(reinterpret_cast<const uint32_t*>(tile + kScalesAt + unit * 128 + lane * 4));
    const auto* d = reinterpret_cast<const uint16_t*>(tile + kRowsAt);
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
        f.scale[row][half] = twice(d * biased_byte(raw.scales, 2 * row + half));
      }
    }
    return f;
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q, 2 * row + kPart);
        const uint32_t high = row == 0 ? raw.high.x : raw.high.y;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const uint32_t code =
              Planes::two(word, 2 * s + i) | Planes::one<2>(high, 8 * kPart + 2 * s + i);
          a[s][2 * i + row] = scaled_codes(code, zero_of(4), f.scale[row][kPart]);
        }
      }
    }
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const bool there = row_in != nullptr && tile_index * kTileColumns < columns;
    const BlockQ3_K* b = reinterpret_cast<const BlockQ3_K*>(row_in) + tile_index;
    const int run = 4 * unit + lane % 4;
    Planes::pack_two(tile + unit * 512 + lane * 16 + 8 * row, [&](int i) -> uint32_t {
      return there ? (b->qs[32 * (run / 4) + i] >> (2 * (run % 4))) & 3u : 0u;
    });
    Planes::pack_one(tile + kHighAt + unit * 256 + lane * 8 + 4 * row,
                     [&](int i) -> uint32_t { return there ? (b->hmask[i] >> run) & 1u : 1u; });
    for (int half = 0; half < 2; ++half) {
      tile[kScalesAt + unit * 128 + lane * 4 + 2 * row + half] =
          static_cast<uint8_t>((there ? b->scale(2 * run + half) : 0) + 128);
    }
    if (unit == 0 && lane % 4 == 0) {
      reinterpret_cast<uint16_t*>(tile + kRowsAt)[lane / 4 + 8 * row] = there ? b->d : uint16_t{0};
    }
  }
};

// ---- TQ1_0 and TQ2_0: 2 bits, d a row. The former's digits of 3 take a fifth less in the file.
template <typename Block>
struct TernaryTiles {
  static constexpr int kRowsAt = 1024, kBytes = 1056;
  static constexpr int kDepth = 4;
  struct Raw {
    uint4 q;
    uint16_t d[2];
  };
  struct Factors {
    uint32_t d[2];
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q = load_16(tile + unit * 512 + lane * 16);
    const auto* d = reinterpret_cast<const uint16_t*>(tile + kRowsAt);
    raw.d[0] = __ldg(d + lane / 4);
    raw.d[1] = __ldg(d + lane / 4 + 8);
    return raw;
  }
  static __device__ Factors factors(const Raw& raw, int, int) {
    return {{twice(half_bits(raw.d[0])), twice(half_bits(raw.d[1]))}};
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q, 2 * row + kPart);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          a[s][2 * i + row] = scaled_codes(Planes::two(word, 2 * s + i), zero_of(1), f.d[row]);
        }
      }
    }
  }
  static __device__ uint32_t code(const BlockTQ2_0& b, int run, int i) {
    return (b.qs[32 * (run / 4) + i] >> (2 * (run % 4))) & 3u;
  }
  static __device__ uint32_t code(const BlockTQ1_0& b, int run, int i) {
    const int half = i / 16, l = i % 16;
    if (run < 5) return static_cast<uint32_t>(BlockTQ1_0::digit(b.qs[i], run));
    if (2 * run + half < 15) {
      return static_cast<uint32_t>(BlockTQ1_0::digit(b.qs[32 + l], 2 * run + half - 10));
    }
    return static_cast<uint32_t>(BlockTQ1_0::digit(b.qh[l % 4], l / 4));
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const bool there = row_in != nullptr && tile_index * kTileColumns < columns;
    const Block* b = reinterpret_cast<const Block*>(row_in) + tile_index;
    const int run = 4 * unit + lane % 4;
    Planes::pack_two(tile + unit * 512 + lane * 16 + 8 * row,
                     [&](int i) { return there ? code(*b, run, i) : 1u; });
    if (unit == 0 && lane % 4 == 0) {
      reinterpret_cast<uint16_t*>(tile + kRowsAt)[lane / 4 + 8 * row] = there ? b->d : uint16_t{0};
    }
  }
};
template <>
struct TileFormat<DType::kTQ1_0> : TernaryTiles<BlockTQ1_0> {};
template <>
struct TileFormat<DType::kTQ2_0> : TernaryTiles<BlockTQ2_0> {};

// ---- 4 bits that name one of 16 values. Nibble e of a word is column e of its 8, so that two
// steps of byte permutation by the word itself look four of them up.
template <uint64_t kLow0, uint64_t kLow1, uint64_t kHigh0, uint64_t kHigh1>
struct Table16 {
  // Bytes of the values as bfloat16: lower ones in kLow0 (codes 0 to 7) and kLow1, upper ones in
  // kHigh0 and kHigh1.
  static __device__ uint32_t half_of(uint64_t table, uint32_t selector) {
    return __byte_perm(static_cast<uint32_t>(table), static_cast<uint32_t>(table >> 32), selector);
  }
  // The four pairs of a word's codes.
  static __device__ void look_up(uint32_t word, uint32_t (&pairs)[4]) {
    const uint32_t which = word & 0x77777777u;
    // Byte i comes from the first (i) or the second (4 + i) half of the table.
    const uint32_t side = 0x32103210u | ((word >> 1) & 0x44444444u);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t w = i == 0 ? which : which >> 16, s = i == 0 ? side : side >> 16;
      const uint32_t high = __byte_perm(half_of(kHigh0, w), half_of(kHigh1, w), s);
      // A float's lower byte knows no sign: the halves of some tables have it in common.
      const uint32_t low =
          kLow0 == kLow1 ? half_of(kLow0, w) : __byte_perm(half_of(kLow0, w), half_of(kLow1, w), s);
      pairs[2 * i] = __byte_perm(low, high, 0x5140);
      pairs[2 * i + 1] = __byte_perm(low, high, 0x7362);
    }
  }
};

constexpr uint32_t bfloat_bits(int value) {
  uint32_t magnitude = static_cast<uint32_t>(value < 0 ? -value : value);
  if (magnitude == 0) return 0;
  uint32_t exponent = 0;
  while ((magnitude >> exponent) > 1) ++exponent;
  return (value < 0 ? 0x8000u : 0u) | ((127 + exponent) << 7) |
         (((magnitude << 7) >> exponent) & 0x7fu);
}
constexpr uint64_t table_bytes(const int8_t (&values)[16], int first, int shift) {
  uint64_t bytes = 0;
  for (int i = 0; i < 8; ++i) {
    bytes |= static_cast<uint64_t>((bfloat_bits(values[first + i]) >> shift) & 0xffu) << (8 * i);
  }
  return bytes;
}

using Iq4Table = Table16<table_bytes(kIq4Values, 0, 0), table_bytes(kIq4Values, 8, 0),
                         table_bytes(kIq4Values, 0, 8), table_bytes(kIq4Values, 8, 8)>;
using Fp4Table = Table16<table_bytes(kFp4Values, 0, 0), table_bytes(kFp4Values, 8, 0),
                         table_bytes(kFp4Values, 0, 8), table_bytes(kFp4Values, 8, 8)>;

// Scales says how those of a format lie after the 2048 bytes of codes:
//   kBytes, Raw, load(tile, unit, lane), read(raw, scale[row][half]), pack(...)
template <typename Table, typename Scales>
struct TableTiles {
  static constexpr int kBytes = 2048 + Scales::kBytes;
  static constexpr int kDepth = 3;
  struct Raw {
    uint4 q[2];
    typename Scales::Raw scales;
  };
  struct Factors {
    uint32_t scale[2][2];  // [row][half]
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q[0] = load_16(tile + unit * 1024 + lane * 16);
    raw.q[1] = load_16(tile + unit * 1024 + 512 + lane * 16);
    raw.scales = Scales::load(tile + 2048, unit, lane);
    return raw;
  }
  static __device__ Factors factors(const Raw& raw, int, int) {
    Factors f;
    Scales::read(raw.scales, f.scale);
    return f;
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
#pragma unroll
      for (int w = 0; w < 2; ++w) {
        uint32_t pairs[4];
        Table::look_up(word_of(raw.q[row], 2 * kPart + w), pairs);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          a[2 * w + i / 2][2 * (i % 2) + row] =
              bits_of(__hmul2(pair_of(pairs[i]), pair_of(f.scale[row][kPart])));
        }
      }
    }
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const int chunk = tile_index * 8 + unit * 4 + lane % 4;
    const bool there = row_in != nullptr && 32 * chunk < columns;
    const uint8_t* codes = there ? Scales::codes(row_in, chunk) : nullptr;
    auto* to = reinterpret_cast<uint32_t*>(tile + unit * 1024 + row * 512 + lane * 16);
    for (int w = 0; w < 4; ++w) {
      uint32_t word = 0;
      for (int e = 0; e < 8 && there; ++e) {
        word |= static_cast<uint32_t>(Scales::code(codes, 8 * w + e)) << (4 * e);
      }
      to[w] = word;
    }
    Scales::pack(row_in, there, chunk, tile + 2048, unit, lane, row);
  }
};

// A block of 32: element i in the low nibbles of 16 bytes, element 16 + i in the high ones.
__device__ inline uint32_t code_of_32(const uint8_t* qs, int i) {
  return (qs[i % 16] >> (4 * (i / 16))) & 15u;
}

struct ScalesIq4Nl {  // fp16 a row and 32
  static constexpr int kBytes = 256;
  using Raw = uint32_t;
  static __device__ Raw load(const uint8_t* at, int unit, int lane) {
    return __ldg(reinterpret_cast<const uint32_t*>(at + unit * 128 + lane * 4));
  }
  static __device__ void read(Raw raw, uint32_t (&scale)[2][2]) {
    const float2 d = __half22float2(*reinterpret_cast<const __half2*>(&raw));
    scale[0][0] = scale[0][1] = twice(d.x);
    scale[1][0] = scale[1][1] = twice(d.y);
  }
  static __device__ const uint8_t* codes(const uint8_t* row, int chunk) {
    return block_at<BlockIQ4_NL>(row, chunk).qs;
  }
  static __device__ uint32_t code(const uint8_t* qs, int i) { return code_of_32(qs, i); }
  static __device__ void pack(const uint8_t* row_in, bool there, int chunk, uint8_t* at, int unit,
                              int lane, int row) {
    reinterpret_cast<uint16_t*>(at + unit * 128 + lane * 4)[row] =
        there ? block_at<BlockIQ4_NL>(row_in, chunk).d : uint16_t{0};
  }
};
template <>
struct TileFormat<DType::kIQ4_NL> : TableTiles<Iq4Table, ScalesIq4Nl> {};

struct ScalesIq4Xs {  // a byte a row and 32, biased by 128; fp16 a row
  static constexpr int kBytes = 160;
  struct Raw {
    uint16_t scales;
    uint16_t d[2];
  };
  static __device__ Raw load(const uint8_t* at, int unit, int lane) {
    const auto* d = reinterpret_cast<const uint16_t*>(at + 128);
    return {__ldg(reinterpret_cast<const uint16_t*>(at + unit * 64 + lane * 2)),
            {__ldg(d + lane / 4), __ldg(d + lane / 4 + 8)}};
  }
  static __device__ void read(const Raw& raw, uint32_t (&scale)[2][2]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      scale[row][0] = scale[row][1] = twice(half_bits(raw.d[row]) * biased_byte(raw.scales, row));
    }
  }
  static __device__ const uint8_t* codes(const uint8_t* row, int chunk) {
    return block_at<BlockIQ4_XS>(row, chunk / 8).qs + 16 * (chunk % 8);
  }
  static __device__ uint32_t code(const uint8_t* qs, int i) {
    return code_of_32(qs, i);
  }
  static __device__ void pack(const uint8_t* row_in, bool there, int chunk, uint8_t* at, int unit,
                              int lane, int row) {
    const int scale = there ? block_at<BlockIQ4_XS>(row_in, chunk / 8).scale(chunk % 8) : 0;
    at[unit * 64 + lane * 2 + row] = static_cast<uint8_t>(scale + 128);
    if (unit == 0 && lane % 4 == 0) {
      reinterpret_cast<uint16_t*>(at + 128)[lane / 4 + 8 * row] =
          there ? block_at<BlockIQ4_XS>(row_in, chunk / 8).d : uint16_t{0};
    }
  }
};
template <>
struct TileFormat<DType::kIQ4_XS> : TableTiles<Iq4Table, ScalesIq4Xs> {};

struct ScalesMxfp4 {  // a power of two a row and 32, in a byte
  static constexpr int kBytes = 128;
  using Raw = uint16_t;
  static __device__ Raw load(const uint8_t* at, int unit, int lane) {
    return __ldg(reinterpret_cast<const uint16_t*>(at + unit * 64 + lane * 2));
  }
  static __device__ void read(Raw raw, uint32_t (&scale)[2][2]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const auto e = static_cast<uint8_t>(raw >> (8 * row));
      scale[row][0] = scale[row][1] = twice(__uint_as_float(e8m0_half_bits(e)));
    }
  }
  static __device__ const uint8_t* codes(const uint8_t* row, int chunk) {
    return block_at<BlockMXFP4>(row, chunk).qs;
  }
  static __device__ uint32_t code(const uint8_t* qs, int i) {
    return code_of_32(qs, i);
  }
  static __device__ void pack(const uint8_t* row_in, bool there, int chunk, uint8_t* at, int unit,
                              int lane, int row) {
    at[unit * 64 + lane * 2 + row] = there ? block_at<BlockMXFP4>(row_in, chunk).e : uint8_t{0};
  }
};
template <>
struct TileFormat<DType::kMXFP4> : TableTiles<Fp4Table, ScalesMxfp4> {};

}  // namespace realm::cuda
