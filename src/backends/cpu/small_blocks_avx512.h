// Blocks of 32 of sixteen rows in registers, for products of few tokens: put together by inserting
// loads and turned there, four codes of all rows to a register, so that a token's products add up
// in lanes of rows; or, for one or two tokens, reduced. Included only by files that are compiled
// for AVX-512 VNNI.
#pragma once

#include "backends/cpu/dot_avx512.h"
#include "formats/quant/codebooks.h"

namespace realm::cpu::avx512 {
namespace {

using Rows = RowGroup<16>;

REALM_KERNEL_INLINE __m512i four_rows(const uint8_t* a, const uint8_t* b, const uint8_t* c,
                                      const uint8_t* d) {
  const auto load = [](const uint8_t* p) __attribute__((always_inline)) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  };
  __m512i v = _mm512_castsi128_si512(load(a));
  v = _mm512_inserti32x4(v, load(b), 1);
  v = _mm512_inserti32x4(v, load(c), 2);
  return _mm512_inserti32x4(v, load(d), 3);
}

// Each of four registers holds four dwords of each of four rows: of rows j, j + 4, j + 8 and j + 12
// register j. Lane i of the result is the sum over row i's.
REALM_KERNEL_INLINE __m512i reduce_fours(const __m512i* p) {
  const __m512i ab =
      _mm512_add_epi32(_mm512_unpacklo_epi32(p[0], p[1]), _mm512_unpackhi_epi32(p[0], p[1]));
  const __m512i cd =
      _mm512_add_epi32(_mm512_unpacklo_epi32(p[2], p[3]), _mm512_unpackhi_epi32(p[2], p[3]));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// Eight registers of 16 dwords; the low and high halves of register i are of rows i and 8 + i. Lane
// i of the result is the sum over row i's.
REALM_KERNEL_INLINE __m512i reduce_halves(const __m512i* p) {
  __m512i u[4], v[2];
  for (int i = 0; i < 4; ++i) {
    u[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(p[2 * i], p[2 * i + 1]),
                            _mm512_unpackhi_epi32(p[2 * i], p[2 * i + 1]));
  }
  for (int i = 0; i < 2; ++i) {
    v[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(u[2 * i], u[2 * i + 1]),
                            _mm512_unpackhi_epi64(u[2 * i], u[2 * i + 1]));
  }
  const __m512i sum = _mm512_add_epi32(_mm512_shuffle_i32x4(v[0], v[1], 0x88),
                                       _mm512_shuffle_i32x4(v[0], v[1], 0xdd));
  return _mm512_shuffle_i64x2(sum, sum, 0xd8);
}

// Four registers of four dwords of each of four rows, register j of rows j, j + 4, j + 8 and j +
// 12: turned, so that register c holds dword c of each row, lane i row i's.
REALM_KERNEL_INLINE void turn_fours(__m512i* p) {
  const __m512i ab_low = _mm512_unpacklo_epi32(p[0], p[1]);
  const __m512i ab_high = _mm512_unpackhi_epi32(p[0], p[1]);
  const __m512i cd_low = _mm512_unpacklo_epi32(p[2], p[3]);
  const __m512i cd_high = _mm512_unpackhi_epi32(p[2], p[3]);
  p[0] = _mm512_unpacklo_epi64(ab_low, cd_low);
  p[1] = _mm512_unpackhi_epi64(ab_low, cd_low);
  p[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
  p[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
}

// The same of eight dwords of each of two rows, register j of rows j and j + 4, register 4 + j of
// rows 8 + j and 12 + j.
REALM_KERNEL_INLINE void turn_halves(__m512i* p) {
  turn_fours(p);
  turn_fours(p + 4);
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i first = p[c], second = p[4 + c];
    p[c] = _mm512_shuffle_i32x4(first, second, 0x88);
    p[4 + c] = _mm512_shuffle_i32x4(first, second, 0xdd);
  }
}

// A format: its block's bytes, what its codes are stored with added, and
//   Scale, scale(p)       what is copied of a block's scale
//   factors(scales)       of sixteen rows
//   factors(dwords)       likewise, of the blocks' first four bytes
//   load(rows, at, w)     the rows' blocks at byte `at`, one code a byte, as sum() takes them
//   sum(w, x)             lane i: over row i, times 32 activations
//   load_turned(...)      the same blocks for add_products(): lane i of w[c] has row i's codes 4 c
//                         and following
// Turning costs as much as the sums of one or two tokens do.

struct HalfScale {
  using Scale = uint16_t;
  REALM_KERNEL_INLINE Scale scale(const uint8_t* p) { return half_bits(p); }
  REALM_KERNEL_INLINE __m512 factors(const Scale* s) { return _mm512_cvtph_ps(load_32(s)); }
  REALM_KERNEL_INLINE __m512 factors(__m512i dwords) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(dwords));
  }
};

struct Q8_0 : HalfScale {
  // Both halves' bytes with their sign turned. Loads that leave the other half zero make it one
  // instruction.
  REALM_KERNEL_INLINE __m512i biased_halves(const uint8_t* low, const uint8_t* high) {
    constexpr int kOrXor = 0x56;  // (a | b) ^ c
    return _mm512_ternarylogic_epi64(_mm512_zextsi256_si512(load_32(low)),
                                     _mm512_maskz_loadu_epi64(0xf0, high - 32),
                                     _mm512_set1_epi8(static_cast<char>(0x80)), kOrXor);
  }
  static constexpr int kBytes = 34, kOffset = 128;
  REALM_KERNEL_INLINE void load(const Rows& rows, int64_t at, __m512i* w) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      w[i] = biased_halves(rows.row[i] + at + 2, rows.row[i + 8] + at + 2);
    }
  }
  REALM_KERNEL_INLINE __m512i sum(const __m512i* w, const int8_t* x) {
    const __m512i xs = _mm512_broadcast_i64x4(load_32(x));
    __m512i p[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) p[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w[i], xs);
    return reduce_halves(p);
  }
  REALM_KERNEL_INLINE void load_turned(const Rows& rows, int64_t at, __m512i* w) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const int row = i / 4 * 8 + i % 4;
      w[i] = biased_halves(rows.row[row] + at + 2, rows.row[row + 4] + at + 2);
    }
    turn_halves(w);
  }
};

// Sixteen bytes of nibbles, elements 0 to 15 in the lower ones.
template <typename Values, int kCodesAt>
struct Nibbles {
  REALM_KERNEL_INLINE void load(const Rows& rows, int64_t at, __m512i* w) {
    const __m512i nibble = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m512i packed =
          four_rows(rows.row[j] + at + kCodesAt, rows.row[j + 4] + at + kCodesAt,
                    rows.row[j + 8] + at + kCodesAt, rows.row[j + 12] + at + kCodesAt);
      w[j] = Values::of(_mm512_and_si512(packed, nibble));
      w[j + 4] = Values::of(_mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble));
    }
  }
  REALM_KERNEL_INLINE __m512i sum(const __m512i* w, const int8_t* x) {
    const auto* at = reinterpret_cast<const __m128i*>(x);
    const __m512i low = _mm512_broadcast_i32x4(_mm_loadu_si128(at));
    const __m512i high = _mm512_broadcast_i32x4(_mm_loadu_si128(at + 1));
    __m512i p[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      p[j] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w[j], low);
      p[j] = _mm512_dpbusd_epi32(p[j], w[j + 4], high);
    }
    return reduce_fours(p);
  }
  REALM_KERNEL_INLINE void load_turned(const Rows& rows, int64_t at, __m512i* w) {
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i packed[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      packed[j] = four_rows(rows.row[j] + at + kCodesAt, rows.row[j + 4] + at + kCodesAt,
                            rows.row[j + 8] + at + kCodesAt, rows.row[j + 12] + at + kCodesAt);
    }
    turn_fours(packed);
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      w[c] = Values::of(_mm512_and_si512(packed[c], nibble));
      w[4 + c] = Values::of(_mm512_and_si512(_mm512_srli_epi16(packed[c], 4), nibble));
    }
  }
};

struct PlainValues {
  REALM_KERNEL_INLINE __m512i of(__m512i nibbles) { return nibbles; }
};
struct Q4_0 : Nibbles<PlainValues, 2>, HalfScale {
  static constexpr int kBytes = 18, kOffset = 8;
};

// Entries of a table of signed values, kept with an offset that makes them unsigned.
struct ShiftedTable {
  alignas(16) uint8_t value[16];
  constexpr ShiftedTable(const int8_t (&table)[16], int offset) : value() {
    for (int i = 0; i < 16; ++i) value[i] = static_cast<uint8_t>(table[i] + offset);
  }
};
template <const int8_t (&kTable)[16], int kOffset>
struct TableValues {
  REALM_KERNEL_INLINE __m512i of(__m512i nibbles) {
    static constexpr ShiftedTable kShifted(kTable, kOffset);
    const __m128i values = _mm_load_si128(reinterpret_cast<const __m128i*>(kShifted.value));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), nibbles);
  }
};
struct IQ4_NL : Nibbles<TableValues<kIq4Values, 128>, 2>, HalfScale {
  static constexpr int kBytes = 18, kOffset = 128;
};

struct MXFP4 : Nibbles<TableValues<kFp4Values, 12>, 1> {
  static constexpr int kBytes = 17, kOffset = 12;
  using Scale = uint32_t;  // a float's bits
  REALM_KERNEL_INLINE Scale scale(const uint8_t* p) {
    const uint32_t e = *p;
    return e < 2 ? 0x00200000u << e : (e - 1) << 23;
  }
  REALM_KERNEL_INLINE __m512 factors(const Scale* s) { return _mm512_load_ps(s); }
  REALM_KERNEL_INLINE __m512 factors(__m512i dwords) {
    const __m512i e = _mm512_and_si512(dwords, _mm512_set1_epi32(255));
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const __mmask16 small = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
    return _mm512_castsi512_ps(
        _mm512_mask_sllv_epi32(normal, small, _mm512_set1_epi32(0x00200000), e));
  }
};

// `start` plus, lane i: the sum over row i's codes times 32 activations.
REALM_KERNEL_INLINE __m512i add_products(__m512i start, const __m512i* w, const int8_t* x) {
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) {
    int32_t four;
    memcpy(&four, x + 4 * c, 4);
    start = _mm512_dpbusd_epi32(start, w[c], _mm512_set1_epi32(four));
  }
  return start;
}

// Sums of a block over each row, for kTokens tokens.
template <typename Format, int kTokens>
struct BlockSums {
  static constexpr bool kTurned = kTokens > 2;
  __m512i w[8];

  __attribute__((always_inline)) BlockSums(const Rows& rows, int64_t at) {
    if constexpr (kTurned) {
      Format::load_turned(rows, at, w);
    } else {
      Format::load(rows, at, w);
    }
  }
  // `start` plus the sums of one token.
  __attribute__((always_inline)) __m512i add(int32_t start, const int8_t* x) const {
    if constexpr (kTurned) return add_products(_mm512_set1_epi32(start), w, x);
    return _mm512_add_epi32(Format::sum(w, x), _mm512_set1_epi32(start));
  }
};

}  // namespace
}  // namespace realm::cpu::avx512
