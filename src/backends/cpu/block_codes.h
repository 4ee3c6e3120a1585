// How each block format is taken apart, 32 codes at a time, by the AVX2 and NEON kernels. A format
// is a struct of constants and functions; blocks are read at the offsets of the structs in
// formats/quant/, whose headers state the layouts. Codes come in element order, either as int8
// (kSigned) or as an unsigned byte that stands for itself minus kBias.
//
// Formats of up to 128 elements ("small") have a float scale per kSub elements:
//   codes(block, v)     elements 32 v .. 32 v + 31
//   scale(block, sub)   d * s of sub-block `sub`
//   min(block)          where kHasMin: the block's -dmin * m, to be added
//   codes_of_two(a, b)  where kPairs: two blocks' first halves, and their second ones, which comes
//                       cheaper than one after the other where a byte holds a code of either half
// Formats of 256 elements ("super") have integer scales:
//   codes(block, v)
//   scales(block)       int8, one per kSub elements (only .lo where kSub is 32)
//   mins(block)         where kHasMin, likewise
//   d(block), dmin(block)
//
// Included only by files that define REALM_ISA, under the rules of simd.h: the constexpr functions
// of formats/quant/ are for constant expressions here, never called at run time.
#pragma once

#include <stddef.h>

#include "backends/cpu/code_vectors.h"
#include "formats/quant/codebooks.h"
#include "formats/quant/iq1_m.h"
#include "formats/quant/iq1_s.h"
#include "formats/quant/iq2_s.h"
#include "formats/quant/iq2_xs.h"
#include "formats/quant/iq2_xxs.h"
#include "formats/quant/iq3_s.h"
#include "formats/quant/iq3_xxs.h"
#include "formats/quant/iq4_nl.h"
#include "formats/quant/iq4_xs.h"
#include "formats/quant/iq_grids.h"
#include "formats/quant/mxfp4.h"
#include "formats/quant/nvfp4.h"
#include "formats/quant/q1_0.h"
#include "formats/quant/q2_k.h"
#include "formats/quant/q3_k.h"
#include "formats/quant/q4_0.h"
#include "formats/quant/q4_1.h"
#include "formats/quant/q4_k.h"
#include "formats/quant/q5_0.h"
#include "formats/quant/q5_1.h"
#include "formats/quant/q5_k.h"
#include "formats/quant/q6_k.h"
#include "formats/quant/q8_0.h"
#include "formats/quant/q8_1.h"
#include "formats/quant/tq1_0.h"
#include "formats/quant/tq2_0.h"

namespace realm::cpu::REALM_ISA {
namespace {

REALM_INLINE uint64_t load_u64(const uint8_t* p) {
  uint64_t x;
  memcpy(&x, p, 8);
  return x;
}
REALM_INLINE uint32_t load_u32(const uint8_t* p) {
  uint32_t x;
  memcpy(&x, p, 4);
  return x;
}
REALM_INLINE uint32_t load_u16(const uint8_t* p) {
  uint16_t x;
  memcpy(&x, p, 2);
  return x;
}

// Sixteen bytes in element order.
struct ScaleBytes {
  uint64_t lo, hi;
};

constexpr uint64_t kEachByte = 0x0101010101010101;

// What most formats have.
template <typename BlockType, int kElementsOf>
struct BlockBase {
  static constexpr int kBytes = static_cast<int>(sizeof(BlockType));
  static constexpr int kElements = kElementsOf;
  static constexpr int kSub = 32;
  static constexpr bool kSigned = false;
  static constexpr int kBias = 0;
  static constexpr bool kHasMin = false;
  static constexpr bool kPairs = false;
};

struct TwoHalves {
  Codes first, second;
};
REALM_INLINE TwoHalves nibbles_of_two(const uint8_t* a, const uint8_t* b) {
  const Codes both = load_two_16(a, b);
  return {both & 15, field(both, -4, 15)};
}

// ---- small ----

template <typename BlockType, int kElementsOf = 32>
struct SmallBase : BlockBase<BlockType, kElementsOf> {
  static constexpr int kHalfScale = offsetof(BlockType, d);  // offset of an fp16 scale, or -1
  REALM_INLINE float scale(const uint8_t* b, int) { return half_at(b + kHalfScale); }
};

template <typename BlockType>
struct EightBits : SmallBase<BlockType> {
  static constexpr int kMax = 128;  // largest byte (of kSigned: magnitude)
  static constexpr bool kSigned = true;
  REALM_INLINE Codes codes(const uint8_t* b, int) {
    return load_codes(b + offsetof(BlockType, qs));
  }
};
struct CodesQ8_0 : EightBits<BlockQ8_0> {};
struct CodesQ8_1 : EightBits<BlockQ8_1> {};

template <typename BlockType>
struct FourBits : SmallBase<BlockType> {
  static constexpr int kMax = 15;
  static constexpr bool kPairs = true;
  static constexpr int kCodesAt = offsetof(BlockType, qs);
  REALM_INLINE TwoHalves codes_of_two(const uint8_t* a, const uint8_t* b) {
    return nibbles_of_two(a + kCodesAt, b + kCodesAt);
  }
  REALM_INLINE Codes codes(const uint8_t* b, int) {
    return nibbles_16(b + offsetof(BlockType, qs));
  }
};
struct CodesQ4_0 : FourBits<BlockQ4_0> {
  static constexpr int kBias = 8;
};
struct CodesQ4_1 : FourBits<BlockQ4_1> {
  static constexpr bool kHasMin = true;
  static constexpr int kHalfMin = offsetof(BlockQ4_1, m);
  REALM_INLINE float min(const uint8_t* b) { return half_at(b + kHalfMin); }
};

template <typename BlockType>
struct FiveBits : SmallBase<BlockType> {
  static constexpr int kMax = 31;
  static constexpr bool kPairs = true;
  static constexpr int kCodesAt = offsetof(BlockType, qs), kFifthAt = offsetof(BlockType, qh);
  REALM_INLINE TwoHalves codes_of_two(const uint8_t* a, const uint8_t* b) {
    const uint32_t of_a = load_u32(a + kFifthAt), of_b = load_u32(b + kFifthAt);
    const uint32_t words[2] = {(of_a & 0xffff) | (of_b << 16), (of_a >> 16) | (of_b & 0xffff0000)};
    uint8_t bytes[8];
    memcpy(bytes, words, 8);
    const TwoHalves low = nibbles_of_two(a + kCodesAt, b + kCodesAt);
    return {low.first | (spread_bits(bytes) & 16), low.second | (spread_bits(bytes + 4) & 16)};
  }
  REALM_INLINE Codes codes(const uint8_t* b, int) {
    return nibbles_16(b + offsetof(BlockType, qs)) |
           (spread_bits(b + offsetof(BlockType, qh)) & 16);
  }
};
struct CodesQ5_0 : FiveBits<BlockQ5_0> {
  static constexpr int kBias = 16;
};
struct CodesQ5_1 : FiveBits<BlockQ5_1> {
  static constexpr bool kHasMin = true;
  static constexpr int kHalfMin = offsetof(BlockQ5_1, m);
  REALM_INLINE float min(const uint8_t* b) { return half_at(b + kHalfMin); }
};

struct CodesIQ4_NL : SmallBase<BlockIQ4_NL> {
  static constexpr int kMax = 127;
  static constexpr bool kSigned = true;
  REALM_INLINE Codes codes(const uint8_t* b, int) {
    return lookup(kIq4Values, nibbles_16(b + offsetof(BlockIQ4_NL, qs)));
  }
  static constexpr bool kPairs = true;
  REALM_INLINE TwoHalves codes_of_two(const uint8_t* a, const uint8_t* b) {
    const TwoHalves q =
        nibbles_of_two(a + offsetof(BlockIQ4_NL, qs), b + offsetof(BlockIQ4_NL, qs));
    return {lookup(kIq4Values, q.first), lookup(kIq4Values, q.second)};
  }
};

// kFp4Values + 12, so that they are unsigned.
constexpr int8_t kBiasedFp4[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
constexpr bool biased_fp4_is_right() {
  for (int i = 0; i < 16; ++i) {
    if (kBiasedFp4[i] != kFp4Values[i] + 12) return false;
  }
  return true;
}
static_assert(biased_fp4_is_right());

struct FloatTable {
  float value[256];
};
constexpr FloatTable make_e8m0_half_table() {
  FloatTable table = {};
  for (int i = 0; i < 256; ++i) {
    table.value[i] = __builtin_bit_cast(float, e8m0_half_bits(static_cast<uint8_t>(i)));
  }
  return table;
}
constexpr FloatTable kE8m0Half = make_e8m0_half_table();

struct CodesMXFP4 : BlockBase<BlockMXFP4, 32> {
  static constexpr int kMax = 24;
  static constexpr int kBias = 12;
  static constexpr int kHalfScale = -1;
  REALM_INLINE Codes codes(const uint8_t* b, int) {
    return lookup(kBiasedFp4, nibbles_16(b + offsetof(BlockMXFP4, qs)));
  }
  static constexpr bool kPairs = true;
  REALM_INLINE TwoHalves codes_of_two(const uint8_t* a, const uint8_t* b) {
    const TwoHalves q = nibbles_of_two(a + offsetof(BlockMXFP4, qs), b + offsetof(BlockMXFP4, qs));
    return {lookup(kBiasedFp4, q.first), lookup(kBiasedFp4, q.second)};
  }
  REALM_INLINE float scale(const uint8_t* b, int) {
    return kE8m0Half.value[b[offsetof(BlockMXFP4, e)]];
  }
};

constexpr FloatTable make_ue4m3_table() {
  FloatTable table = {};
  for (int i = 0; i < 256; ++i) {
    table.value[i] = static_cast<float>(ue4m3_in_units(static_cast<uint8_t>(i))) * 0x1p-10f;
  }
  return table;
}
constexpr FloatTable kUe4m3 = make_ue4m3_table();

struct CodesNVFP4 : BlockBase<BlockNVFP4, 64> {
  static constexpr int kMax = 24;
  static constexpr int kSub = 16;
  static constexpr int kBias = 12;
  static constexpr int kHalfScale = -1;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    return lookup(kBiasedFp4, nibbles_8_8(b + offsetof(BlockNVFP4, qs) + 16 * v));
  }
  REALM_INLINE float scale(const uint8_t* b, int sub) {
    return kUe4m3.value[b[offsetof(BlockNVFP4, d) + static_cast<size_t>(sub)]];
  }
};

struct CodesQ1_0 : SmallBase<BlockQ1_0, 128> {
  static constexpr int kMax = 2;
  static constexpr int kBias = 1;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    return spread_bits(b + offsetof(BlockQ1_0, qs) + 4 * v) & 2;
  }
};

// ---- super ----

template <typename BlockType>
struct SuperBase : BlockBase<BlockType, 256> {
  REALM_INLINE float d(const uint8_t* b) { return half_at(b + offsetof(BlockType, d)); }
};

// Q4_K and Q5_K: see k_scales.h.
template <typename BlockType>
struct KScales : SuperBase<BlockType> {
  static constexpr bool kHasMin = true;
  static constexpr int kScalesAt = offsetof(BlockType, scales);
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    const uint32_t low = load_u32(b + kScalesAt), mixed = load_u32(b + kScalesAt + 8);
    const uint64_t high = (mixed & 0x0f0f0f0fu) | ((low >> 2) & 0x30303030u);
    return {(low & 0x3f3f3f3fu) | (high << 32), 0};
  }
  REALM_INLINE ScaleBytes mins(const uint8_t* b) {
    const uint32_t low = load_u32(b + kScalesAt + 4), mixed = load_u32(b + kScalesAt + 8);
    const uint64_t high = ((mixed >> 4) & 0x0f0f0f0fu) | ((low >> 2) & 0x30303030u);
    return {(low & 0x3f3f3f3fu) | (high << 32), 0};
  }
  REALM_INLINE float dmin(const uint8_t* b) { return half_at(b + offsetof(BlockType, dmin)); }
};

struct CodesQ4_K : KScales<BlockQ4_K> {
  static constexpr int kMax = 15;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const Codes run = load_codes(b + offsetof(BlockQ4_K, qs) + 32 * (v / 2));
    return v % 2 == 0 ? run & 15 : field(run, -4, 15);
  }
};

struct CodesQ5_K : KScales<BlockQ5_K> {
  static constexpr int kMax = 31;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const Codes run = load_codes(b + offsetof(BlockQ5_K, qs) + 32 * (v / 2));
    const Codes fifth = field(load_codes(b + offsetof(BlockQ5_K, qh)), 4 - v, 16);
    return (v % 2 == 0 ? run & 15 : field(run, -4, 15)) | fifth;
  }
};

struct CodesQ6_K : SuperBase<BlockQ6_K> {
  static constexpr int kMax = 63;
  static constexpr int kSub = 16;
  static constexpr int kBias = 32;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const int half = v / 4, quarter = v % 4;
    const Codes low = load_codes(b + offsetof(BlockQ6_K, ql) + 64 * half + 32 * (quarter % 2));
    const Codes high = load_codes(b + offsetof(BlockQ6_K, qh) + 32 * half);
    return (quarter < 2 ? low & 15 : field(low, -4, 15)) | field(high, 4 - 2 * quarter, 0x30);
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    const uint8_t* p = b + offsetof(BlockQ6_K, scales);
    return {load_u64(p), load_u64(p + 8)};
  }
};

struct CodesQ3_K : SuperBase<BlockQ3_K> {
  static constexpr int kMax = 7;
  static constexpr int kSub = 16;
  static constexpr int kBias = 4;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const Codes low = load_codes(b + offsetof(BlockQ3_K, qs) + 32 * (v / 4));
    const Codes high = load_codes(b + offsetof(BlockQ3_K, hmask));
    return field(low, -2 * (v % 4), 3) | field(high, 2 - v, 4);
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    const uint8_t* p = b + offsetof(BlockQ3_K, scales);
    const uint64_t low = load_u64(p), high = load_u32(p + 8);
    constexpr uint64_t kPairs = 0x03030303;
    const uint64_t first =
        (low & (15 * kEachByte)) | (((high & kPairs) | (((high >> 2) & kPairs) << 32)) << 4);
    const uint64_t second = ((low >> 4) & (15 * kEachByte)) |
                            ((((high >> 4) & kPairs) | (((high >> 6) & kPairs) << 32)) << 4);
    return {minus_32(first), minus_32(second)};
  }

 private:
  // Of each byte in 0..63; the borrow stops at bit 7, which is set before and flipped after.
  REALM_INLINE uint64_t minus_32(uint64_t bytes) {
    return ((bytes | (0x80 * kEachByte)) - 32 * kEachByte) ^ (0x80 * kEachByte);
  }
};

struct CodesQ2_K : SuperBase<BlockQ2_K> {
  static constexpr int kMax = 3;
  static constexpr int kSub = 16;
  static constexpr bool kHasMin = true;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    return field(load_codes(b + offsetof(BlockQ2_K, qs) + 32 * (v / 4)), -2 * (v % 4), 3);
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    const uint8_t* p = b + offsetof(BlockQ2_K, scales);
    return {load_u64(p) & (15 * kEachByte), load_u64(p + 8) & (15 * kEachByte)};
  }
  REALM_INLINE ScaleBytes mins(const uint8_t* b) {
    const uint8_t* p = b + offsetof(BlockQ2_K, scales);
    return {(load_u64(p) >> 4) & (15 * kEachByte), (load_u64(p + 8) >> 4) & (15 * kEachByte)};
  }
  REALM_INLINE float dmin(const uint8_t* b) { return half_at(b + offsetof(BlockQ2_K, dmin)); }
};

struct CodesTQ2_0 : SuperBase<BlockTQ2_0> {
  static constexpr int kMax = 3;
  static constexpr int kBias = 1;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    return field(load_codes(b + offsetof(BlockTQ2_0, qs) + 32 * (v / 4)), -2 * (v % 4), 3);
  }
  REALM_INLINE ScaleBytes scales(const uint8_t*) { return {kEachByte, 0}; }
};

// Ternary digits: digit n of a byte is the upper byte of three times (byte * 3^n mod 256).
struct CodesTQ1_0 : SuperBase<BlockTQ1_0> {
  static constexpr int kMax = 2;
  static constexpr int kBias = 1;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    constexpr uint8_t kPowers[8] = {1, 3, 9, 27, 81, 1, 9, 81};
    const uint8_t* qs = b + offsetof(BlockTQ1_0, qs);
    if (v < 5) return digits(times(load_codes(qs), kPowers[v]));
    const Codes x = times(load_two_16(qs + 32, qs + 32), kPowers[v]);
    if (v < 7) return digits(halves_of(x, times(x, 3)));
    // The last four bytes hold four digits each: times 1, 3, 9 and 27, two bytes a word.
    const uint64_t packed = load_u32(b + offsetof(BlockTQ1_0, qh));
    const uint64_t even = packed & 0xff00ff, odd = (packed >> 8) & 0xff00ff;
    const uint64_t by_1 = even | (odd << 8), by_3 = bytes_times(even, odd, 3);
    const uint64_t by_9 = bytes_times(even, odd, 9), by_27 = bytes_times(even, odd, 27);
    const uint64_t low = by_1 | (by_3 << 32), high = by_9 | (by_27 << 32);
    return digits(halves_of(x, from_entries(0, 0, low, high)));
  }
  REALM_INLINE ScaleBytes scales(const uint8_t*) { return {kEachByte, 0}; }

 private:
  // Four bytes, two to a word, times a factor, modulo 256.
  REALM_INLINE uint64_t bytes_times(uint64_t even, uint64_t odd, uint64_t factor) {
    return (even * factor & 0xff00ff) | ((odd * factor & 0xff00ff) << 8);
  }
  // 3 x >> 8
  REALM_INLINE Codes digits(Codes x) { return (at_least(x, 86) & 1) + (at_least(x, 171) & 1); }
};

struct CodesIQ4_XS : SuperBase<BlockIQ4_XS> {
  static constexpr int kMax = 127;
  static constexpr bool kSigned = true;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    return lookup(kIq4Values, nibbles_16(b + offsetof(BlockIQ4_XS, qs) + 16 * v));
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    uint64_t low = load_u32(b + offsetof(BlockIQ4_XS, scales_l));  // to a byte each
    low = (low | (low << 16)) & 0x0000ffff0000ffff;
    low = (low | (low << 8)) & 0x00ff00ff00ff00ff;
    low = (low | (low << 4)) & 0x0f0f0f0f0f0f0f0f;
    uint64_t high = load_u16(b + offsetof(BlockIQ4_XS, scales_h));
    high = (high | (high << 24)) & 0x000000ff000000ff;
    high = (high | (high << 12)) & 0x000f000f000f000f;
    high = (high | (high << 6)) & 0x0303030303030303;
    const uint64_t top = 0x8080808080808080;  // so that nothing is borrowed
    const uint64_t bytes = ((low | (high << 4) | top) - 0x2020202020202020) ^ top;
    return {bytes, 0};
  }
};

// ---- codebooks ----

struct EvenSigns {
  uint8_t of[128];
};
constexpr EvenSigns make_even_signs() {
  EvenSigns table = {};
  for (uint32_t i = 0; i < 128; ++i) table.of[i] = iq_even_signs(i);
  return table;
}
constexpr EvenSigns kEvenSigns = make_even_signs();

// Four signs of 7 bits each, as 32.
REALM_INLINE uint32_t even_signs(uint32_t word) {
  return kEvenSigns.of[word & 127] |
         (static_cast<uint32_t>(kEvenSigns.of[(word >> 7) & 127]) << 8) |
         (static_cast<uint32_t>(kEvenSigns.of[(word >> 14) & 127]) << 16) |
         (static_cast<uint32_t>(kEvenSigns.of[(word >> 21) & 127]) << 24);
}
REALM_INLINE Codes with_signs(Codes a, uint32_t signs) {
  uint8_t bytes[4];
  memcpy(bytes, &signs, 4);
  return negate_where(a, spread_bits(bytes));
}
// 2 s + 1 for each nibble s of the word's n-th.. bytes: eight nibbles from 4 bytes, lowest first.
REALM_INLINE uint64_t odd_nibbles(uint32_t word) {
  uint64_t x = word;
  x = (x | (x << 16)) & 0x0000ffff0000ffff;
  x = (x | (x << 8)) & 0x00ff00ff00ff00ff;
  x = (x | (x << 4)) & 0x0f0f0f0f0f0f0f0f;
  return 2 * x + kEachByte;
}

template <typename BlockType>
struct CodebookBase : SuperBase<BlockType> {
  static constexpr bool kSigned = true;
};

struct CodesIQ2_XXS : CodebookBase<BlockIQ2_XXS> {
  static constexpr int kMax = 43;
  static constexpr int kGroups = offsetof(BlockIQ2_XXS, qs);
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const uint8_t* p = b + kGroups + 8 * v;
    const uint64_t* grid = kIq2XxsGrid.entries;
    return with_signs(from_entries(grid[p[0]], grid[p[1]], grid[p[2]], grid[p[3]]),
                      even_signs(load_u32(p + 4)));
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    uint64_t bytes = 0;
    for (int v = 0; v < 8; ++v) {
      const uint64_t scale = b[kGroups + 8 * v + 7] >> 4;
      bytes |= (2 * scale + 1) << (8 * v);
    }
    return {bytes, 0};
  }
  REALM_INLINE float d(const uint8_t* b) { return CodebookBase::d(b) * 0.125f; }
};

struct CodesIQ2_XS : CodebookBase<BlockIQ2_XS> {
  static constexpr int kMax = 43;
  static constexpr int kSub = 16;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const uint64_t q = load_u64(b + offsetof(BlockIQ2_XS, qs) + 8 * v);
    const uint64_t* grid = kIq2XsGrid.entries;
    const uint32_t signs = kEvenSigns.of[(q >> 9) & 127] |
                           (static_cast<uint32_t>(kEvenSigns.of[(q >> 25) & 127]) << 8) |
                           (static_cast<uint32_t>(kEvenSigns.of[(q >> 41) & 127]) << 16) |
                           (static_cast<uint32_t>(kEvenSigns.of[q >> 57]) << 24);
    return with_signs(from_entries(grid[q & 511], grid[(q >> 16) & 511], grid[(q >> 32) & 511],
                                   grid[(q >> 48) & 511]),
                      signs);
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    const uint8_t* p = b + offsetof(BlockIQ2_XS, scales);
    return {odd_nibbles(load_u32(p)), odd_nibbles(load_u32(p + 4))};
  }
  REALM_INLINE float d(const uint8_t* b) { return CodebookBase::d(b) * 0.125f; }
};

struct CodesIQ2_S : CodebookBase<BlockIQ2_S> {
  static constexpr int kMax = 43;
  static constexpr int kSub = 16;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const uint8_t* q = b + offsetof(BlockIQ2_S, qs) + 4 * v;
    const uint32_t high = b[offsetof(BlockIQ2_S, qh) + static_cast<size_t>(v)];
    const uint64_t* grid = kIq2SGrid.entries;
    return with_signs(
        from_entries(grid[q[0] | ((high & 3) << 8)], grid[q[1] | (((high >> 2) & 3) << 8)],
                     grid[q[2] | (((high >> 4) & 3) << 8)], grid[q[3] | ((high >> 6) << 8)]),
        load_u32(b + offsetof(BlockIQ2_S, signs) + 4 * v));
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    const uint8_t* p = b + offsetof(BlockIQ2_S, scales);
    return {odd_nibbles(load_u32(p)), odd_nibbles(load_u32(p + 4))};
  }
  REALM_INLINE float d(const uint8_t* b) { return CodebookBase::d(b) * 0.125f; }
};

REALM_INLINE uint64_t two_entries(uint32_t first, uint32_t second) {
  return first | (static_cast<uint64_t>(second) << 32);
}

struct CodesIQ3_XXS : CodebookBase<BlockIQ3_XXS> {
  static constexpr int kMax = 62;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const uint8_t* q = b + offsetof(BlockIQ3_XXS, qs) + 8 * v;
    const uint32_t* grid = kIq3XxsGrid.entries;
    return with_signs(
        from_entries(two_entries(grid[q[0]], grid[q[1]]), two_entries(grid[q[2]], grid[q[3]]),
                     two_entries(grid[q[4]], grid[q[5]]), two_entries(grid[q[6]], grid[q[7]])),
        even_signs(load_u32(b + offsetof(BlockIQ3_XXS, scales_signs) + 4 * v)));
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    uint64_t bytes = 0;
    for (int v = 0; v < 8; ++v) {
      const uint64_t scale =
          b[offsetof(BlockIQ3_XXS, scales_signs) + static_cast<size_t>(4 * v + 3)] >> 4;
      bytes |= (2 * scale + 1) << (8 * v);
    }
    return {bytes, 0};
  }
  REALM_INLINE float d(const uint8_t* b) { return CodebookBase::d(b) * 0.25f; }
};

struct CodesIQ3_S : CodebookBase<BlockIQ3_S> {
  static constexpr int kMax = 15;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const uint8_t* q = b + offsetof(BlockIQ3_S, qs) + 8 * v;
    const uint32_t h = b[offsetof(BlockIQ3_S, qh) + static_cast<size_t>(v)];
    const uint32_t* grid = kIq3SGrid.entries;
    return with_signs(
        from_entries(two_entries(grid[q[0] | ((h << 8) & 256)], grid[q[1] | ((h << 7) & 256)]),
                     two_entries(grid[q[2] | ((h << 6) & 256)], grid[q[3] | ((h << 5) & 256)]),
                     two_entries(grid[q[4] | ((h << 4) & 256)], grid[q[5] | ((h << 3) & 256)]),
                     two_entries(grid[q[6] | ((h << 2) & 256)], grid[q[7] | ((h << 1) & 256)])),
        load_u32(b + offsetof(BlockIQ3_S, signs) + 4 * v));
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    return {odd_nibbles(load_u32(b + offsetof(BlockIQ3_S, scales))), 0};
  }
};

struct CodesIQ1_S : CodebookBase<BlockIQ1_S> {
  static constexpr int kMax = 9;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const uint8_t* q = b + offsetof(BlockIQ1_S, qs) + 4 * v;
    const uint32_t h = load_u16(b + offsetof(BlockIQ1_S, qh) + 2 * v);
    const uint64_t* grid = kIq1Grid.entries;
    const Codes g = from_entries(grid[q[0] | ((h << 8) & 0x700)], grid[q[1] | ((h << 5) & 0x700)],
                                 grid[q[2] | ((h << 2) & 0x700)], grid[q[3] | ((h >> 1) & 0x700)]);
    const uint64_t delta = kEachByte * (h & 0x8000 ? 0xffu : 1u);
    return field(g, 3, 0xf8) + from_entries(delta, delta, delta, delta);
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    uint64_t bytes = 0;
    for (int v = 0; v < 8; ++v) {
      const uint64_t h = load_u16(b + offsetof(BlockIQ1_S, qh) + 2 * v);
      bytes |= (2 * ((h >> 12) & 7) + 1) << (8 * v);
    }
    return {bytes, 0};
  }
  REALM_INLINE float d(const uint8_t* b) { return CodebookBase::d(b) * 0.125f; }
};

struct CodesIQ1_M : BlockBase<BlockIQ1_M, 256> {
  static constexpr int kMax = 9;
  static constexpr int kSub = 16;
  static constexpr bool kSigned = true;
  REALM_INLINE Codes codes(const uint8_t* b, int v) {
    const uint8_t* q = b + offsetof(BlockIQ1_M, qs) + 4 * v;
    const uint32_t h = load_u16(b + offsetof(BlockIQ1_M, qh) + 2 * v);
    const uint64_t* grid = kIq1Grid.entries;
    const Codes g = from_entries(grid[q[0] | ((h << 8) & 0x700)], grid[q[1] | ((h << 4) & 0x700)],
                                 grid[q[2] | (h & 0x700)], grid[q[3] | ((h >> 4) & 0x700)]);
    return field(g, 3, 0xf8) +
           from_entries(delta(h & 0x8), delta(h & 0x80), delta(h & 0x800), delta(h & 0x8000));
  }
  REALM_INLINE ScaleBytes scales(const uint8_t* b) {
    uint64_t words[2] = {0, 0};
    for (int j = 0; j < 16; ++j) {
      const uint64_t word = load_u16(b + offsetof(BlockIQ1_M, scales) + 2 * (j / 4));
      words[j / 8] |= (2 * ((word >> (3 * (j % 4))) & 7) + 1) << (8 * (j % 8));
    }
    return {words[0], words[1]};
  }
  REALM_INLINE float d(const uint8_t* b) {
    const uint64_t w = load_u64(b + offsetof(BlockIQ1_M, scales));
    const uint64_t bits =
        ((w >> 12) & 0xf) | ((w >> 24) & 0xf0) | ((w >> 36) & 0xf00) | ((w >> 48) & 0xf000);
    uint8_t bytes[2] = {static_cast<uint8_t>(bits), static_cast<uint8_t>(bits >> 8)};
    return half_at(bytes) * 0.125f;
  }

 private:
  REALM_INLINE uint64_t delta(uint32_t negative) {
    return kEachByte * (negative != 0 ? 0xffu : 1u);
  }
};

}  // namespace
}  // namespace realm::cpu::REALM_ISA
