// Few tokens with blocks of 32 on AVX-512 VNNI: a block of each of sixteen rows at a time, straight
// from memory. What a block costs decides whether memory is waited for (18 bytes arrive in 2.7
// cycles at 20 GB/s a core), so blocks are put together in registers by inserting loads, and turned
// there, four codes of all rows to a register, so that products of any number of tokens add up in
// lanes of rows. Scales, which lie apart, are gathered where gathers are fast; elsewhere scalar
// instructions copy them some blocks ahead.
#include "backends/cpu/dot_avx512.h"
#include "backends/cpu/matmul_avx512.h"
#include "formats/quant/codebooks.h"

namespace realm::cpu::avx512 {
namespace {

constexpr int kMaxTokens = 8;  // of one pass over the weights
constexpr int kAhead = 8;      // blocks whose scales are copied at a time

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

// Four registers of four dwords of each of four rows, register j of rows j, j + 4, j + 8 and j + 12:
// turned, so that register c holds dword c of each row, lane i row i's.
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
//   load(rows, at, w)     the rows' blocks at byte `at`, one code a byte: lane i of w[c] has row
//                         i's codes 4 c and following

struct HalfScale {
  using Scale = uint16_t;
  REALM_KERNEL_INLINE Scale scale(const uint8_t* p) { return half_bits(p); }
  REALM_KERNEL_INLINE __m512 factors(const Scale* s) { return _mm512_cvtph_ps(load_32(s)); }
  REALM_KERNEL_INLINE __m512 factors(__m512i dwords) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(dwords));
  }
};

struct Q8_0 : HalfScale {
  static constexpr int kBytes = 34, kOffset = 128;
  REALM_KERNEL_INLINE void load(const Rows& rows, int64_t at, __m512i* w) {
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const int row = i / 4 * 8 + i % 4;
      const __m512i codes =
          halves(load_32(rows.row[row] + at + 2), load_32(rows.row[row + 4] + at + 2));
      w[i] = _mm512_xor_si512(codes, sign);
    }
    turn_halves(w);
  }
};

// Sixteen bytes of nibbles, elements 0 to 15 in the lower ones.
template <typename Values, int kCodesAt>
struct Nibbles {
  REALM_KERNEL_INLINE void load(const Rows& rows, int64_t at, __m512i* w) {
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

// Of blocks [begin, begin + count), kUnrolled at a time.
template <typename Format, int kUnrolled>
REALM_KERNEL_INLINE void copy_scales(const Rows& rows, int64_t begin, int64_t count,
                                     typename Format::Scale (*scales)[16]) {
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) {
    const uint8_t* p = rows.row[r] + begin * Format::kBytes;
    for (int64_t b = 0; b < count; b += kUnrolled) {
#pragma GCC unroll 8
      for (int i = 0; i < kUnrolled; ++i) {
        scales[b + i][r] = Format::scale(p + (b + i) * Format::kBytes);
      }
    }
  }
}

template <typename Format, int kTokens, bool kGathers>
void dot_tokens(const WeightRows& weights, const QuantizedTokens& x, const int32_t* corrections,
                float* out, int64_t out_stride) {
  const int64_t blocks = weights.k / 32;
  for (int first = 0; first < weights.num_rows; first += 16) {
    const Rows rows(weights, first);
    alignas(64) int32_t row_at[16];
    for (int r = 0; r < 16; ++r) row_at[r] = static_cast<int32_t>(rows.row[r] - rows.row[0]);
    __m512 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
    for (int64_t begin = 0; begin < blocks; begin += kAhead) {
      const int64_t end = begin + kAhead < blocks ? begin + kAhead : blocks;
      alignas(64) typename Format::Scale scales[kAhead][16];
      if (kGathers) {
        // Below.
      } else if (end - begin == kAhead) {
        copy_scales<Format, kAhead>(rows, begin, kAhead, scales);
      } else {
        copy_scales<Format, 1>(rows, begin, end - begin, scales);
      }
      for (int64_t b = begin; b < end; ++b) {
        prefetch_next<16 * Format::kBytes>(rows.next + 16 * b * Format::kBytes);
        __m512i w[8];
        Format::load(rows, b * Format::kBytes, w);
        __m512 d;
        if constexpr (kGathers) {
          const uint8_t* p = rows.row[0] + b * Format::kBytes;
          d = Format::factors(_mm512_i32gather_epi32(_mm512_load_si512(row_at), p, 1));
        } else {
          d = Format::factors(scales[b - begin]);
        }
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
          const __m512i sum = add_products(_mm512_set1_epi32(corrections[t * blocks + b]), w,
                                           x.codes + t * x.k + 32 * b);
          const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(x.scales[t * blocks + b]));
          acc[t] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum), acc[t]);
        }
      }
    }
    const auto mask = static_cast<__mmask16>((1u << rows.count) - 1);
    for (int t = 0; t < kTokens; ++t) {
      _mm512_mask_storeu_ps(out + t * out_stride + first, mask, acc[t]);
    }
  }
}

// What takes the codes' offset from the sum over each block: -offset * sum of activations.
void offset_sums(const int16_t* sums, int64_t blocks, int offset, int32_t* out) {
  for (int64_t b = 0; b < blocks; b += 16) {
    const __mmask16 some =
        blocks - b < 16 ? static_cast<__mmask16>((1u << (blocks - b)) - 1) : __mmask16{0xffff};
    const __m512i halves_of_sums = _mm512_maskz_loadu_epi32(some, sums + 2 * b);
    _mm512_mask_storeu_epi32(
        out + b, some,
        _mm512_madd_epi16(halves_of_sums, _mm512_set1_epi16(static_cast<short>(-offset))));
  }
}

using Pass = void (*)(const WeightRows& weights, const QuantizedTokens& x,
                      const int32_t* corrections, float* out, int64_t out_stride);
struct Kernels {
  Pass passes[2][kMaxTokens];  // [gathers][tokens - 1]
  int offset;
};
template <typename F>
const Kernels* kernels_of() {
  static constexpr Kernels kernels = {
      {{dot_tokens<F, 1, false>, dot_tokens<F, 2, false>, dot_tokens<F, 3, false>,
        dot_tokens<F, 4, false>, dot_tokens<F, 5, false>, dot_tokens<F, 6, false>,
        dot_tokens<F, 7, false>, dot_tokens<F, 8, false>},
       {dot_tokens<F, 1, true>, dot_tokens<F, 2, true>, dot_tokens<F, 3, true>,
        dot_tokens<F, 4, true>, dot_tokens<F, 5, true>, dot_tokens<F, 6, true>,
        dot_tokens<F, 7, true>, dot_tokens<F, 8, true>}},
      F::kOffset};
  return &kernels;
}
const Kernels* kernels_of(DType type) {
  switch (type) {
    case DType::kQ8_0:
      return kernels_of<Q8_0>();
    case DType::kQ4_0:
      return kernels_of<Q4_0>();
    case DType::kIQ4_NL:
      return kernels_of<IQ4_NL>();
    case DType::kMXFP4:
      return kernels_of<MXFP4>();
    default:
      return nullptr;
  }
}

// Longest k for which the corrections of a pass fit the scratch.
constexpr int64_t kMaxK = int64_t{1} << 20;

}  // namespace

bool has_small_dot(DType type) {
  return kernels_of(type) != nullptr;
}

int64_t small_dot_scratch_bytes() {
  return kMaxTokens * (kMaxK / 32) * 4;
}

bool dot_small(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
               int64_t out_stride, uint8_t* scratch, bool gathers) {
  const Kernels* kernels = kernels_of(weights.format->type);
  if (kernels == nullptr || weights.k > kMaxK) return false;
  auto* corrections = reinterpret_cast<int32_t*>(scratch);
  const int64_t blocks = weights.k / 32;
  for (int64_t t = 0; t < num_tokens; t += kMaxTokens) {
    const int64_t count = num_tokens - t < kMaxTokens ? num_tokens - t : kMaxTokens;
    for (int64_t i = 0; i < count; ++i) {
      offset_sums(x.sums + (t + i) * (x.k / 16), blocks, kernels->offset, corrections + i * blocks);
    }
    kernels->passes[gathers][count - 1](weights, from_token(x, t), corrections,
                                        out + t * out_stride, out_stride);
  }
  return true;
}

}  // namespace realm::cpu::avx512
