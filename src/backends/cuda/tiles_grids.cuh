// Tiles of the codebook formats (tiles.cuh has the order of rows and columns): an index names 8
// weights (IQ2, IQ1) or 4 (IQ3). Signs lie as bits of their own, also those that a file has 7 of
// for 8: 0.125 bits a weight more for IQ2_XXS, IQ2_XS and IQ3_XXS.
//
// An entry of IQ2's and IQ1's codebooks is eight nibbles that say which of three levels; a weight's
// sign (or its group's shift) becomes bit 2 of its nibble, so that permutations of bytes by the
// nibbles themselves look four weights up in eight values. An entry of IQ3's is four bytes; signs
// choose bytes of it or of its negative in the same way. It takes 2 to 3 instructions a weight.
//
// Tables: of kernels for few tokens in shared memory (SharedGrid), where 32 lanes' look-ups take
// three or four cycles, for others in device memory (DeviceGrid), through the L1 cache.
#pragma once

#include "backends/cuda/grid_tables.cuh"

namespace realm::cuda {

// Bytes of x (0 to 3) and y (4 to 7) by the low four nibbles, whose bit 3 is clear: __byte_perm
// would clear it first.
__device__ inline uint32_t permute(uint32_t x, uint32_t y, uint32_t nibbles) {
  uint32_t bytes;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(x), "r"(y), "r"(nibbles));
  return bytes;
}

// Field `i` of kBits bits each, in words that follow each other.
template <int kBits, size_t kWords>
__device__ uint32_t field_of(const uint32_t (&words)[kWords], int i) {
  const int at = kBits * i, word = at / 32, shift = at % 32;
  const bool crosses = shift + kBits > 32;
  const uint32_t bits = crosses ? __funnelshift_r(words[word], words[crosses ? word + 1 : 0],
                                                  static_cast<uint32_t>(shift))
                                : words[word] >> shift;
  return bits & ((1u << kBits) - 1);
}

// Scales of four bits (IQ1_M: of three) for each 32 columns, or for each 16 where kHalves is 2:
// those of both rows in a lane's one or two bytes.
template <int kHalves>
struct NibbleScales {
  static constexpr int kBytes = 64 * kHalves;
  static __device__ uint32_t load(const uint8_t* at, int unit, int lane) {
    if constexpr (kHalves == 1) return __ldg(at + unit * 32 + lane);
    return __ldg(reinterpret_cast<const uint16_t*>(at) + unit * 32 + lane);
  }
  // Those of an even lane and the next.
  static __device__ uint32_t load_two(const uint8_t* at, int unit, int lane) {
    if constexpr (kHalves == 1) {
      return __ldg(reinterpret_cast<const uint16_t*>(at + unit * 32 + lane));
    }
    return __ldg(reinterpret_cast<const uint32_t*>(at + unit * 64 + lane * 2));
  }
  static constexpr int shift(int row, int half) { return 4 * (kHalves * row + half % kHalves); }
  // Twice the scale, and one: what all these formats multiply by.
  static __device__ uint32_t odd(uint32_t scales, int row, int half) {
    return ((scales >> shift(row, half)) & 15u) * 2 + 1;
  }
  static __device__ uint32_t odd_of_two(uint32_t scales, int which, int row, int half) {
    return odd(scales >> (8 * kHalves * which), row, half);
  }
  static __device__ void pack(uint8_t* at, int unit, int lane, int row, int half, uint32_t scale) {
    if (half >= kHalves) return;
    uint8_t& byte = at[(unit * 32 + lane) * kHalves + shift(row, half) / 8];
    const int by = shift(row, half) % 8;
    byte = static_cast<uint8_t>((byte & ~(15u << by)) | (scale << by));
  }
};

// fp16 a row: rows g and g + 8 side by side.
struct RowScales {
  static constexpr int kBytes = 32;
  static __device__ uint32_t load(const uint8_t* at, int lane) {
    return __ldg(reinterpret_cast<const uint32_t*>(at) + lane / 4);
  }
  static __device__ float of(uint32_t d, int row) {
    return half_bits(static_cast<uint16_t>(row == 0 ? d : d >> 16));
  }
  static __device__ void pack(uint8_t* at, int unit, int lane, int row, uint16_t d) {
    if (unit != 0 || lane % 4 != 0) return;
    reinterpret_cast<uint16_t*>(at)[2 * (lane / 4) + row] = d;
  }
};

// Signs of a row's 32 columns: that of element j of eight columns m at bit 4 j + m. As bit 2 of
// eight nibbles.
__device__ inline uint32_t sign_nibbles(uint32_t signs, int m) {
  return (m < 2 ? signs << (2 - m) : signs >> (m - 2)) & 0x44444444u;
}
template <typename SignsAt>
__device__ uint32_t pack_signs(SignsAt&& signs_at) {
  uint32_t word = 0;
  for (int m = 0; m < 4; ++m) {
    const uint32_t signs = signs_at(m);
    for (int j = 0; j < 8; ++j) word |= ((signs >> j) & 1u) << (4 * j + m);
  }
  return word;
}

// ---- What the fields of a file's blocks are: of vector l of a group of 32 columns.
__device__ inline uint32_t index_of(const BlockIQ2_XXS& b, int group, int l) {
  return b.index(group, l);
}
__device__ inline uint32_t signs_of(const BlockIQ2_XXS& b, int group, int l) {
  return iq_even_signs((b.signs_and_scale(group) >> (7 * l)) & 127u);
}
__device__ inline uint32_t scale_of(const BlockIQ2_XXS& b, int group, int) {
  return b.signs_and_scale(group) >> 28;
}
__device__ inline uint32_t index_of(const BlockIQ2_XS& b, int group, int l) {
  return b.qs[4 * group + l] & 511u;
}
__device__ inline uint32_t signs_of(const BlockIQ2_XS& b, int group, int l) {
  return iq_even_signs(b.qs[4 * group + l] >> 9);
}
__device__ inline uint32_t scale_of(const BlockIQ2_XS& b, int group, int half) {
  return (b.scales[group] >> (4 * half)) & 15u;
}
__device__ inline uint32_t index_of(const BlockIQ2_S& b, int group, int l) {
  return b.index(4 * group + l);
}
__device__ inline uint32_t signs_of(const BlockIQ2_S& b, int group, int l) {
  return b.signs[4 * group + l];
}
__device__ inline uint32_t scale_of(const BlockIQ2_S& b, int group, int half) {
  return (b.scales[group] >> (4 * half)) & 15u;
}
__device__ inline uint32_t index_of(const BlockIQ3_XXS& b, int group, int l) {
  return b.qs[8 * group + l];
}
__device__ inline uint32_t signs_of(const BlockIQ3_XXS& b, int group, int m) {
  return iq_even_signs((b.signs_and_scale(group) >> (7 * m)) & 127u);
}
__device__ inline uint32_t scale_of(const BlockIQ3_XXS& b, int group, int) {
  return b.signs_and_scale(group) >> 28;
}
__device__ inline uint32_t index_of(const BlockIQ3_S& b, int group, int l) {
  return b.index(8 * group + l);
}
__device__ inline uint32_t signs_of(const BlockIQ3_S& b, int group, int m) {
  return b.signs[4 * group + m];
}
__device__ inline uint32_t scale_of(const BlockIQ3_S& b, int group, int) {
  return (b.scales[group / 2] >> (4 * (group % 2))) & 15u;
}

// Of block formats of 256 elements: a row's block of a tile, or null past the last row or column.
template <typename Block>
__device__ const Block* block_of_tile(const uint8_t* row_in, int columns, int tile_index) {
  const bool there = row_in != nullptr && tile_index * kTileColumns < columns;
  return there ? reinterpret_cast<const Block*>(row_in) + tile_index : nullptr;
}

// ---- IQ2: a row's indices, but for what of them no word has room for, beside its signs; kBits an
// index.
template <typename BlockOfType, int kBits, int kHalves>
struct Iq2Fields {
  using Block = BlockOfType;
  using Scales = NibbleScales<kHalves>;
  static constexpr int kUpperBits = 4 * (kBits - 8);  // a row's
  static constexpr int kUpperAt = 1024, kScalesAt = kUpperAt + 64 * kUpperBits / 4;
  static constexpr int kRowsAt = kScalesAt + Scales::kBytes;
  static constexpr int kBytes = kRowsAt + RowScales::kBytes;
  static constexpr int kGroups = kHalves;
  static constexpr float kScaleUnit = 0.125f;
  struct Raw {
    uint4 q;  // indices and signs of row g, then of row g + 8
    uint32_t upper, scales, d;
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q = load_16(tile + unit * 512 + lane * 16);
    raw.upper = 0;
    if constexpr (kUpperBits == 4) raw.upper = __ldg(tile + kUpperAt + unit * 32 + lane);
    if constexpr (kUpperBits == 8) {
      raw.upper = __ldg(reinterpret_cast<const uint16_t*>(tile + kUpperAt) + unit * 32 + lane);
    }
    raw.scales = Scales::load(tile + kScalesAt, unit, lane);
    raw.d = RowScales::load(tile + kRowsAt, lane);
    return raw;
  }
  // Nibbles of eight weights.
  template <typename Grid>
  static __device__ uint32_t nibbles(const Raw& raw, int row, int l) {
    const uint32_t words[] = {row == 0 ? raw.q.x : raw.q.z, raw.upper >> (kUpperBits * row)};
    return Grid::at(field_of<kBits>(words, l)) | sign_nibbles(row == 0 ? raw.q.y : raw.q.w, l);
  }
  static __device__ uint32_t odd_scale(const Raw& raw, int row, int half) {
    return Scales::odd(raw.scales, row, half);
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const Block* b = block_of_tile<Block>(row_in, columns, tile_index);
    const int group = 4 * unit + lane % 4;
    uint64_t indices = 0;
    for (int l = 0; l < 4 && b != nullptr; ++l) {
      indices |= static_cast<uint64_t>(index_of(*b, group, l)) << (kBits * l);
    }
    auto* words = reinterpret_cast<uint32_t*>(tile + unit * 512 + lane * 16) + 2 * row;
    words[0] = static_cast<uint32_t>(indices);
    words[1] = pack_signs([&](int m) { return b != nullptr ? signs_of(*b, group, m) : 0u; });
    const auto upper = static_cast<uint32_t>(indices >> 32);
    if constexpr (kUpperBits == 4) {
      uint8_t& byte = tile[kUpperAt + unit * 32 + lane];
      byte = static_cast<uint8_t>(row == 0 ? upper : byte | (upper << 4));
    }
    if constexpr (kUpperBits == 8) {
      tile[kUpperAt + (unit * 32 + lane) * 2 + row] = static_cast<uint8_t>(upper);
    }
    for (int half = 0; half < 2; ++half) {
      Scales::pack(tile + kScalesAt, unit, lane, row, half,
                   b != nullptr ? scale_of(*b, group, half) : 0u);
    }
    RowScales::pack(tile + kRowsAt, unit, lane, row, b != nullptr ? b->d : uint16_t{0});
  }
};

// ---- IQ1: 48 bits a row. Of IQ1_S four indices of 11 bits, the scale, and whether the shift is
// negative; of IQ1_M four times an index and such a bit, and scales apart.
struct Iq1SFields {
  // The scales of both rows where they lie: in the upper halves of the words `high`.
  struct Scales {
    static __device__ uint2 load_two(const uint8_t* at, int unit, int lane) {
      return __ldg(reinterpret_cast<const uint2*>(at + unit * 128 + lane * 4));
    }
    static __device__ uint32_t odd(uint32_t high, int row) {
      return ((high >> (16 * row + 12)) & 7u) * 2 + 1;
    }
    static __device__ uint32_t odd_of_two(const uint2& high, int which, int row, int) {
      return odd(which == 0 ? high.x : high.y, row);
    }
  };
  static constexpr int kHighAt = 512, kScalesAt = kHighAt, kRowsAt = kHighAt + 256;
  static constexpr int kBytes = kRowsAt + RowScales::kBytes;
  static constexpr int kGroups = 1;
  static constexpr float kScaleUnit = 0.125f;
  struct Raw {
    uint2 low;      // of both rows
    uint32_t high;  // 16 bits of each row
    uint32_t d;
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    return {__ldg(reinterpret_cast<const uint2*>(tile + unit * 256 + lane * 8)),
            __ldg(reinterpret_cast<const uint32_t*>(tile + kHighAt + unit * 128 + lane * 4)),
            RowScales::load(tile + kRowsAt, lane)};
  }
  template <typename Grid>
  static __device__ uint32_t nibbles(const Raw& raw, int row, int l) {
    const uint32_t words[] = {row == 0 ? raw.low.x : raw.low.y, raw.high >> (16 * row)};
    const uint32_t negative = row == 0 ? raw.high << 16 : raw.high;  // its sign
    return Grid::at(field_of<11>(words, l)) |
           (static_cast<uint32_t>(static_cast<int32_t>(negative) >> 31) & 0x44444444u);
  }
  static __device__ uint32_t odd_scale(const Raw& raw, int row, int) {
    return Scales::odd(raw.high, row);
  }
  static __device__ void write(uint64_t bits, uint8_t* tile, int unit, int lane, int row) {
    reinterpret_cast<uint32_t*>(tile + unit * 256 + lane * 8)[row] = static_cast<uint32_t>(bits);
    reinterpret_cast<uint16_t*>(tile + kHighAt + unit * 128 + lane * 4)[row] =
        static_cast<uint16_t>(bits >> 32);
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const auto* b = block_of_tile<BlockIQ1_S>(row_in, columns, tile_index);
    const int group = 4 * unit + lane % 4;
    uint64_t bits = 0;
    for (int l = 0; l < 4 && b != nullptr; ++l) {
      bits |= static_cast<uint64_t>(b->index(4 * group + l)) << (11 * l);
    }
    if (b != nullptr) {
      bits |= static_cast<uint64_t>(b->scale(group) / 2) << 44;
      bits |= static_cast<uint64_t>(b->delta_negative(group)) << 47;
    }
    write(bits, tile, unit, lane, row);
    RowScales::pack(tile + kRowsAt, unit, lane, row, b != nullptr ? b->d : uint16_t{0});
  }
};

struct Iq1MFields {
  using Scales = NibbleScales<2>;
  static constexpr int kScalesAt = 768, kRowsAt = kScalesAt + Scales::kBytes;
  static constexpr int kBytes = kRowsAt + RowScales::kBytes;
  static constexpr int kGroups = 2;
  static constexpr float kScaleUnit = 0.125f;
  struct Raw : Iq1SFields::Raw {
    uint32_t scales;
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.low = __ldg(reinterpret_cast<const uint2*>(tile + unit * 256 + lane * 8));
    raw.high = __ldg(
        reinterpret_cast<const uint32_t*>(tile + Iq1SFields::kHighAt + unit * 128 + lane * 4));
    raw.d = RowScales::load(tile + kRowsAt, lane);
    raw.scales = Scales::load(tile + kScalesAt, unit, lane);
    return raw;
  }
  template <typename Grid>
  static __device__ uint32_t nibbles(const Raw& raw, int row, int l) {
    const uint32_t words[] = {row == 0 ? raw.low.x : raw.low.y, raw.high >> (16 * row)};
    const uint32_t field = field_of<12>(words, l);
    return Grid::at(field & 2047u) + (field >> 11) * 0x44444444u;
  }
  static __device__ uint32_t odd_scale(const Raw& raw, int row, int half) {
    return Scales::odd(raw.scales, row, half);
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const auto* b = block_of_tile<BlockIQ1_M>(row_in, columns, tile_index);
    const int group = 4 * unit + lane % 4;
    uint64_t bits = 0;
    for (int l = 0; l < 4 && b != nullptr; ++l) {
      const int vector = 4 * group + l;
      const uint32_t field = b->index(vector) | (b->delta_negative(vector) ? 2048u : 0u);
      bits |= static_cast<uint64_t>(field) << (12 * l);
    }
    Iq1SFields::write(bits, tile, unit, lane, row);
    for (int half = 0; half < 2; ++half) {
      const int scale = b != nullptr ? b->scale(2 * group + half) / 2 : 0;
      Scales::pack(tile + kScalesAt, unit, lane, row, half, static_cast<uint32_t>(scale));
    }
    RowScales::pack(tile + kRowsAt, unit, lane, row, b != nullptr ? b->d() : uint16_t{0});
  }
};

// The eight values that nibbles name: as bytes, and as bytes of bfloat16.
template <int... kValues>
struct EightValues {
  static constexpr int kAll[8] = {kValues...};
  static constexpr uint32_t bytes(int first, bool of_bfloat, int shift) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      const int value = kAll[first + i];
      const uint32_t bits = of_bfloat ? bfloat_bits(value) >> shift : static_cast<uint32_t>(value);
      word |= (bits & 0xffu) << (8 * i);
    }
    return word;
  }
  static constexpr uint32_t kBytes0 = bytes(0, false, 0), kBytes1 = bytes(4, false, 0);
  static constexpr uint32_t kLow0 = bytes(0, true, 0), kLow1 = bytes(4, true, 0);
  static constexpr uint32_t kHigh0 = bytes(0, true, 8), kHigh1 = bytes(4, true, 8);
};
using Iq2Values = EightValues<kIq2Levels[0], kIq2Levels[1], kIq2Levels[2], 0, -kIq2Levels[0],
                              -kIq2Levels[1], -kIq2Levels[2], 0>;
// Eight times -1, 0 or 1, plus or minus one.
using Iq1Values = EightValues<-7, 1, 9, 0, -9, -1, 7, 0>;

// ---- IQ2 and IQ1 as operands.
template <typename FieldsOfType, typename Values, typename Grid>
struct EightTiles : FieldsOfType {
  using Fields = FieldsOfType;
  using Raw = typename Fields::Raw;
  static constexpr int kDepth = 4;
  struct Factors {
    uint32_t scale[2][Fields::kGroups];  // [row][half]
  };
  static __device__ Factors factors(const Raw& raw, int, int) {
    Factors f;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float d = RowScales::of(raw.d, row) * Fields::kScaleUnit;
#pragma unroll
      for (int half = 0; half < Fields::kGroups; ++half) {
        const auto scale = static_cast<int>(Fields::odd_scale(raw, row, half));
        f.scale[row][half] = twice(d * static_cast<float>(scale));
      }
    }
    return f;
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const __nv_bfloat162 scale = pair_of(f.scale[row][kPart % Fields::kGroups]);
#pragma unroll
      for (int v = 0; v < 2; ++v) {
        const uint32_t nibbles = Fields::template nibbles<Grid>(raw, row, 2 * kPart + v);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const uint32_t low = permute(Values::kLow0, Values::kLow1, nibbles >> (16 * i));
          const uint32_t high = permute(Values::kHigh0, Values::kHigh1, nibbles >> (16 * i));
          uint32_t(&step)[4] = a[2 * v + i];
          step[row] = bits_of(__hmul2(pair_of(__byte_perm(low, high, 0x5140)), scale));
          step[2 + row] = bits_of(__hmul2(pair_of(__byte_perm(low, high, 0x7362)), scale));
        }
      }
    }
  }
};

// ---- IQ3: a row's 64 bits of indices, its ninth bits where there are any, its signs.
template <typename BlockOfType, int kBits, float kUnit>
struct Iq3Fields {
  using Block = BlockOfType;
  using Scales = NibbleScales<1>;
  static constexpr int kSignsAt = 1024, kUpperAt = kSignsAt + 512;
  static constexpr int kScalesAt = kUpperAt + (kBits == 9 ? 128 : 0);
  static constexpr int kRowsAt = kScalesAt + Scales::kBytes;
  static constexpr int kBytes = kRowsAt + RowScales::kBytes;
  static constexpr int kGroups = 1;
  static constexpr float kScaleUnit = kUnit;
  struct Raw {
    uint4 q;      // of row g, then of row g + 8
    uint2 signs;  // of both rows
    uint32_t upper, scales, d;
  };
  static __device__ Raw load(const uint8_t* tile, int unit, int lane) {
    Raw raw;
    raw.q = load_16(tile + unit * 512 + lane * 16);
    raw.signs = __ldg(reinterpret_cast<const uint2*>(tile + kSignsAt + unit * 256 + lane * 8));
    raw.upper = 0;
    if constexpr (kBits == 9) {
      raw.upper = __ldg(reinterpret_cast<const uint16_t*>(tile + kUpperAt) + unit * 32 + lane);
    }
    raw.scales = Scales::load(tile + kScalesAt, unit, lane);
    raw.d = RowScales::load(tile + kRowsAt, lane);
    return raw;
  }
  static __device__ uint32_t index(const Raw& raw, int row, int l) {
    const uint32_t words[] = {row == 0 ? raw.q.x : raw.q.z, row == 0 ? raw.q.y : raw.q.w,
                              raw.upper >> (8 * row)};
    return field_of<kBits>(words, l);
  }
  // Nibbles that choose bytes of eight columns' entries (0 to 3) or of their negatives (4 to 7).
  static __device__ uint32_t choices(const Raw& raw, int row, int m) {
    return sign_nibbles(row == 0 ? raw.signs.x : raw.signs.y, m) | 0x32103210u;
  }
  static __device__ uint32_t odd_scale(const Raw& raw, int row, int half) {
    return Scales::odd(raw.scales, row, half);
  }
  static __device__ void pack(const uint8_t* row_in, int columns, uint8_t* tile, int unit, int lane,
                              int row, int tile_index) {
    const Block* b = block_of_tile<Block>(row_in, columns, tile_index);
    const int group = 4 * unit + lane % 4;
    uint32_t words[3] = {};
    for (int i = 0; i < 8 * kBits && b != nullptr; ++i) {
      words[i / 32] |= ((index_of(*b, group, i / kBits) >> (i % kBits)) & 1u) << (i % 32);
    }
    auto* to = reinterpret_cast<uint32_t*>(tile + unit * 512 + lane * 16) + 2 * row;
    to[0] = words[0];
    to[1] = words[1];
    if constexpr (kBits == 9) {
      tile[kUpperAt + (unit * 32 + lane) * 2 + row] = static_cast<uint8_t>(words[2]);
    }
    reinterpret_cast<uint32_t*>(tile + kSignsAt + unit * 256 + lane * 8)[row] =
        pack_signs([&](int m) { return b != nullptr ? signs_of(*b, group, m) : 0u; });
    Scales::pack(tile + kScalesAt, unit, lane, row, 0, b != nullptr ? scale_of(*b, group, 0) : 0u);
    RowScales::pack(tile + kRowsAt, unit, lane, row, b != nullptr ? b->d : uint16_t{0});
  }
};

template <typename FieldsOfType, typename Grid>
struct FourTiles : FieldsOfType {
  using Fields = FieldsOfType;
  using Raw = typename Fields::Raw;
  static constexpr int kDepth = 3;
  struct Factors {
    uint32_t scale[2];
  };
  static __device__ Factors factors(const Raw& raw, int, int) {
    Factors f;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const auto scale = static_cast<int>(Fields::odd_scale(raw, row, 0));
      f.scale[row] =
          twice(RowScales::of(raw.d, row) * Fields::kScaleUnit * static_cast<float>(scale));
    }
    return f;
  }
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const __nv_bfloat162 scale = pair_of(f.scale[row]);
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        const uint64_t entry = Grid::at(Fields::index(raw, row, 4 * kPart + s));
        const uint32_t choices = Fields::choices(raw, row, 2 * kPart + s / 2) >> (16 * (s % 2));
        const auto low = static_cast<uint32_t>(entry), high = static_cast<uint32_t>(entry >> 32);
        const uint32_t signed_high = permute(high, high ^ 0x80808080u, choices);
        a[s][row] = bits_of(__hmul2(pair_of(__byte_perm(low, signed_high, 0x5140)), scale));
        a[s][2 + row] = bits_of(__hmul2(pair_of(__byte_perm(low, signed_high, 0x7362)), scale));
      }
    }
  }
};

// A type's format with a table of choice.
template <DType kType, typename Grid>
struct GridFormats;
template <typename Grid>
struct GridFormats<DType::kIQ2_XXS, Grid> {
  using Format = EightTiles<Iq2Fields<BlockIQ2_XXS, 8, 1>, Iq2Values, Grid>;
};
template <typename Grid>
struct GridFormats<DType::kIQ2_XS, Grid> {
  using Format = EightTiles<Iq2Fields<BlockIQ2_XS, 9, 2>, Iq2Values, Grid>;
};
template <typename Grid>
struct GridFormats<DType::kIQ2_S, Grid> {
  using Format = EightTiles<Iq2Fields<BlockIQ2_S, 10, 2>, Iq2Values, Grid>;
};
template <typename Grid>
struct GridFormats<DType::kIQ1_S, Grid> {
  using Format = EightTiles<Iq1SFields, Iq1Values, Grid>;
};
template <typename Grid>
struct GridFormats<DType::kIQ1_M, Grid> {
  using Format = EightTiles<Iq1MFields, Iq1Values, Grid>;
};
template <typename Grid>
struct GridFormats<DType::kIQ3_XXS, Grid> {
  using Format = FourTiles<Iq3Fields<BlockIQ3_XXS, 8, 0.25f>, Grid>;
};
template <typename Grid>
struct GridFormats<DType::kIQ3_S, Grid> {
  using Format = FourTiles<Iq3Fields<BlockIQ3_S, 9, 1.0f>, Grid>;
};
template <DType kType, typename Grid = DeviceGrid<kType>>
using GridFormat = typename GridFormats<kType, Grid>::Format;

// For kernels that have the table shared.
template <DType kType>
struct SharedGridFormat : GridFormat<kType, SharedGrid<kType, false>> {
  static __device__ void share() { SharedGrid<kType, false>::share(); }
};

template <>
struct TileFormat<DType::kIQ2_XXS> : GridFormat<DType::kIQ2_XXS> {};
template <>
struct TileFormat<DType::kIQ2_XS> : GridFormat<DType::kIQ2_XS> {};
template <>
struct TileFormat<DType::kIQ2_S> : GridFormat<DType::kIQ2_S> {};
template <>
struct TileFormat<DType::kIQ1_S> : GridFormat<DType::kIQ1_S> {};
template <>
struct TileFormat<DType::kIQ1_M> : GridFormat<DType::kIQ1_M> {};
template <>
struct TileFormat<DType::kIQ3_XXS> : GridFormat<DType::kIQ3_XXS> {};
template <>
struct TileFormat<DType::kIQ3_S> : GridFormat<DType::kIQ3_S> {};

}  // namespace realm::cuda
