// Packed rows to tiles of weights (matmul_amx.h): blocks of 256 by super_digits_amx.h, smaller ones
// here, nibbles two blocks at a time and other formats through their struct of block_codes.h.
//
// Included only by files that define REALM_ISA, under the rules of simd.h.
#pragma once

#include <immintrin.h>

#include <type_traits>

#include "backends/cpu/stretch_amx.h"
#include "backends/cpu/super_digits_amx.h"
#include "backends/cpu/transpose_avx512.h"

namespace realm::cpu::REALM_ISA {
namespace {

// Sixteen rows' packed bytes.
struct RowPointers {
  const uint8_t* row[kTile];
  int tile;                   // of the two of a panel
  const uint8_t* next_panel;  // what this thread reads next, as far as is known
  bool cold;                  // nobody asked for these rows
};

// The rows are read in steps across all of them, which no hardware prefetcher follows. Where row i
// is read at byte `at`, `bytes` of them, as much of the next panel is asked for, in the order of
// memory, and the row's own next bytes only where that was not done for them. (Asking for them
// always was slower.)
REALM_INLINE void prefetch_ahead(const RowPointers& rows, int i, int64_t at, int64_t bytes) {
  const uint8_t* next = rows.next_panel + 2 * kTile * at + (kTile * rows.tile + i) * bytes;
  for (int64_t line = 0; line < bytes; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(next + line), _MM_HINT_T1);
  }
  for (int64_t line = 0; rows.cold && line < bytes; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(rows.row[i] + at + bytes + line), _MM_HINT_T0);
  }
}

REALM_INLINE __m256i words(ScaleBytes s) {
  return _mm256_cvtepi8_epi16(
      _mm_set_epi64x(static_cast<int64_t>(s.hi), static_cast<int64_t>(s.lo)));
}

// The block at byte `at` of rows [first, end).
template <typename F>
REALM_INLINE void unpack_super(const BlockFormat& format, const RowPointers& rows, int64_t at,
                               int first, int end, SuperTile& to) {
  typename BufferOf<F>::Type buffer;
  for (int i = first; i < end; ++i) {
    prefetch_ahead(rows, i, at, format.block_bytes);
    const uint8_t* block = block_at<F>(format, rows.row[i] + at, 0, buffer);
    store_digits(F{}, block, words(F::scales(block)), i, to);
    to.d[i] = F::d(block);
    if constexpr (F::kHasMin) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.mins[i]), words(F::mins(block)));
      to.dmin[i] = F::dmin(block);
    }
  }
}

// ---- smaller blocks ----

// Formats of sixteen bytes of nibbles, the first half of a block in the lower ones.
template <typename F>
inline constexpr bool kNibbles = false;
template <>
inline constexpr bool kNibbles<CodesQ4_0> = true;
template <>
inline constexpr bool kNibbles<CodesQ4_1> = true;
template <>
inline constexpr bool kNibbles<CodesIQ4_NL> = true;
template <>
inline constexpr bool kNibbles<CodesMXFP4> = true;

// What a nibble stands for.
template <typename F>
REALM_INLINE __m512i values_of(F, __m512i nibbles) {
  return F::kBias == 0 ? nibbles : _mm512_sub_epi8(nibbles, _mm512_set1_epi8(F::kBias));
}
REALM_INLINE __m512i look_up(const int8_t* table, __m512i nibbles) {
  const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), nibbles);
}
REALM_INLINE __m512i values_of(CodesIQ4_NL, __m512i nibbles) {
  return look_up(kIq4Values, nibbles);
}
REALM_INLINE __m512i values_of(CodesMXFP4, __m512i nibbles) {
  return look_up(kFp4Values, nibbles);
}

// The byte of two blocks in a row from which each of their 64 codes comes.
template <typename F>
struct NibbleBytes {
  alignas(64) uint8_t of[64];
  constexpr NibbleBytes() : of() {
    constexpr int kCodesAt = F::kBytes - 16;
    for (int i = 0; i < 64; ++i) {
      of[i] = static_cast<uint8_t>(i / 32 * F::kBytes + kCodesAt + i % 16);
    }
  }
};

// Two blocks.
template <typename F>
REALM_INLINE __m512i codes_of_pair(const uint8_t* blocks) {
  static constexpr NibbleBytes<F> kFrom;
  constexpr __mmask64 kMask = (uint64_t{1} << (2 * F::kBytes)) - 1;
  const __m512i packed =
      _mm512_permutexvar_epi8(_mm512_load_si512(kFrom.of), _mm512_maskz_loadu_epi8(kMask, blocks));
  const __m512i shift = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0,
                                         0x0004000400040004, 0x0004000400040004, 0, 0);
  return values_of(F{}, _mm512_and_si512(_mm512_srlv_epi16(packed, shift), _mm512_set1_epi8(15)));
}

// Whether what a block has besides its codes is in the four bytes that begin with its scale.
template <typename F>
constexpr bool scales_in_a_dword() {
  if constexpr (F::kElements != 32 || F::kSub != 32 || kUnpacksFirst<F>) {
    return false;
  } else if constexpr (F::kHasMin) {
    return F::kHalfScale >= 0 && F::kHalfMin == F::kHalfScale + 2;
  } else {
    return F::kHalfScale >= 0 || std::is_same_v<F, CodesMXFP4>;
  }
}
// Sixteen dwords' factors.
template <typename F>
REALM_INLINE __m512 factors_of(F, __m512i dwords) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(dwords));
}
REALM_INLINE __m512 factors_of(CodesMXFP4, __m512i dwords) {
  const __m512i e = _mm512_and_si512(dwords, _mm512_set1_epi32(255));
  return _mm512_i32gather_ps(e, kE8m0Half.value, 4);
}

// The factors of a stretch of kSmallK elements from byte `at` of each row on: sixteen blocks of a
// row at once, then turned.
template <typename F>
REALM_INLINE void unpack_factors(const RowPointers& rows, int64_t at, SmallTile& to) {
  static_assert(kSmallK / 32 == kTile);
  constexpr int kAt = F::kHalfScale >= 0 ? F::kHalfScale : 0;
  const __m512i block =
      _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32(F::kBytes));
  __m512i dwords[kTile];
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) {
    dwords[i] = _mm512_i32gather_epi32(block, rows.row[i] + at + kAt, 1);
  }
  transpose_16x16(dwords);
#pragma GCC unroll 16
  for (int g = 0; g < kTile; ++g) {
    _mm512_store_ps(to.factors[g], factors_of(F{}, dwords[g]));
    if constexpr (F::kHasMin) {
      _mm512_store_ps(to.minima[g], factors_of(F{}, _mm512_srli_epi32(dwords[g], 16)));
    }
  }
}

// The codes of one row's 32 elements g and following of the stretch.
template <typename F>
REALM_INLINE void store_small(__m256i q, int64_t g, int row, SmallTile& to) {
  if constexpr (F::kSub == 32) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to.codes + small_codes_at<32>(g) + row * 64), q);
  } else {
    auto* half = reinterpret_cast<__m128i*>(to.codes + small_codes_at<16>(2 * g) + row * 16);
    _mm_store_si128(half, _mm256_castsi256_si128(q));
    _mm_store_si128(half + kTile, _mm256_extracti128_si256(q, 1));
  }
}

// `k` elements of rows [first, end) from byte `at` on; k <= kSmallK. The last of a tile's rows come
// last.
template <typename F>
REALM_INLINE void unpack_small(const BlockFormat& format, const RowPointers& rows, int64_t at,
                               int64_t k, int first, int end, SmallTile& to) {
  constexpr int kHalves = 32 / F::kSub;
  typename BufferOf<F>::Type buffer;
  const __m256i bias = _mm256_set1_epi8(static_cast<char>(F::kBias));
  const int block_groups = groups_of_block<F>(format);
  const int64_t bytes = k / 32 / block_groups * bytes_of_block<F>(format);
  const bool all_at_once = scales_in_a_dword<F>() && k == kSmallK;
  for (int i = first; i < end; ++i) {
    const uint8_t* data = rows.row[i] + at;
    int64_t g = 0;
    if constexpr (kNibbles<F>) {
      for (; g + 1 < k / 32; g += 2) {
        _mm512_store_si512(to.codes + small_codes_at<32>(g) + i * 64,
                           codes_of_pair<F>(data + g * F::kBytes));
      }
    }
    for (; g < k / 32; ++g) {
      const int v = static_cast<int>(g % block_groups);
      const uint8_t* block =
          block_at<F>(format, data + g / block_groups * bytes_of_block<F>(format), v, buffer);
      store_small<F>(_mm256_sub_epi8(F::codes(block, v).v, bias), g, i, to);
    }
    for (g = 0; !all_at_once && g < k / 32; ++g) {
      const int v = static_cast<int>(g % block_groups);
      const uint8_t* block =
          block_at<F>(format, data + g / block_groups * bytes_of_block<F>(format), v, buffer);
      for (int h = 0; h < kHalves; ++h) {
        to.factors[kHalves * g + h][i] = F::scale(block, (kUnpacksFirst<F> ? 0 : v * kHalves) + h);
      }
      if constexpr (F::kHasMin) to.minima[g][i] = F::min(block);
    }
    prefetch_ahead(rows, i, at, bytes);
  }
  if constexpr (scales_in_a_dword<F>()) {
    if (all_at_once && end == kTile) unpack_factors<F>(rows, at, to);
  }
}

// ---- smaller blocks by stretches (stretch_amx.h) ----

template <typename S>
inline constexpr bool kIsStretch = false;
template <>
inline constexpr bool kIsStretch<StretchQ8_0> = true;
template <>
inline constexpr bool kIsStretch<StretchQ4_0> = true;
template <>
inline constexpr bool kIsStretch<StretchIQ4_NL> = true;
template <>
inline constexpr bool kIsStretch<StretchMXFP4> = true;

// The codes of two blocks.
REALM_INLINE __m512i codes_of_two(StretchQ8_0, const uint8_t* blocks) {
  return avx512::halves(avx512::load_32(blocks + 2),
                        avx512::load_32(blocks + StretchQ8_0::kBlockBytes + 2));
}
REALM_INLINE __m512i codes_of_two(StretchQ4_0, const uint8_t* blocks) {
  return codes_of_pair<CodesQ4_0>(blocks);
}
REALM_INLINE __m512i codes_of_two(StretchIQ4_NL, const uint8_t* blocks) {
  return codes_of_pair<CodesIQ4_NL>(blocks);
}
REALM_INLINE __m512i codes_of_two(StretchMXFP4, const uint8_t* blocks) {
  return codes_of_pair<CodesMXFP4>(blocks);
}

// The scales of two rows' eight blocks, the first row's in the lower half; the rows' factors go to
// d. As mulhrs takes them: words times 2^7, so that a code times 2^8 gives the product itself.
template <typename S>
REALM_INLINE __m512i scales_of_two_rows(const uint8_t* first, const uint8_t* second, float* d) {
  const __m512 of = S::factors(_mm256_setr_m128i(S::scales(first), S::scales(second)));
  __m512 largest = larger_size(_mm512_setzero_ps(), of);
  largest = _mm512_max_ps(largest, _mm512_shuffle_f32x4(largest, largest, 0xb1));
  largest = _mm512_max_ps(largest, _mm512_permute_ps(largest, 0x4e));
  largest = _mm512_max_ps(largest, _mm512_permute_ps(largest, 0xb1));
  const __m512 factor = factor_of<S>(largest);
  d[0] = _mm512_cvtss_f32(factor);
  d[1] = _mm_cvtss_f32(_mm512_extractf32x4_ps(factor, 2));
  return _mm512_slli_epi32(integer_scales(of, inverse_of<S>(largest)), 7);
}

template <typename S>
REALM_INLINE void store_stretch(const uint8_t* blocks, __m512i scales, int row, SuperTile& to) {
#pragma GCC unroll 4
  for (int step = 0; step < 4; ++step) {
    const __m512i codes = codes_of_two(S{}, blocks + 2 * step * S::kBlockBytes);
    // Words of two scales; a dword's lower half holds one.
    const int at = 4 * step;
    const __m512i scale = spread_words(scales, at, at, at + 2, at + 2);
    const __m512i even = _mm512_mulhrs_epi16(_mm512_slli_epi16(codes, 8), scale);
    const __m512i odd = _mm512_mulhrs_epi16(_mm512_andnot_si512(low_bytes(), codes), scale);
    store_bytes_of(even, odd, step, row, to);
  }
}

// The stretch at byte `at` of rows [first, end), whose number is even.
template <typename S>
REALM_INLINE void unpack_stretches(const RowPointers& rows, int64_t at, int first, int end,
                                   SuperTile& to) {
  for (int i = first; i < end; i += 2) {
    prefetch_ahead(rows, i, at, S::kBytes);
    prefetch_ahead(rows, i + 1, at, S::kBytes);
    const uint8_t *a = rows.row[i] + at, *b = rows.row[i + 1] + at;
    const __m512i scales = scales_of_two_rows<S>(a, b, to.d + i);
    store_stretch<S>(a, scales, i, to);
    store_stretch<S>(b, _mm512_shuffle_i64x2(scales, scales, 0x4e), i + 1, to);
  }
}

// The block of 256, or stretch of as many, at byte `at` of rows [first, end).
template <typename F>
REALM_INLINE void unpack_tile(const BlockFormat& format, const RowPointers& rows, int64_t at,
                              int first, int end, SuperTile& to) {
  if constexpr (kIsStretch<F>) {
    unpack_stretches<F>(rows, at, first, end, to);
  } else {
    unpack_super<F>(format, rows, at, first, end, to);
  }
}

}  // namespace
}  // namespace realm::cpu::REALM_ISA
