// Sixteen cached keys turned so that a vector holds one dimension of sixteen positions: what lets
// attention sum a score in one chain, lane by lane, without a horizontal operation. The half and
// byte formats are turned before they are widened, which moves a half and a quarter of the bytes.
//
// Included only by attention.inc.h, under the rules of simd.h.
#pragma once

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd.h"

namespace realm::cpu::REALM_ISA {

// Bytes of an element where rows are not in blocks.
template <CacheType kType>
constexpr int64_t kElementBytes = kType == CacheType::kF32                                ? 4
                                  : kType == CacheType::kF16 || kType == CacheType::kBF16 ? 2
                                                                                          : 1;

// Floats between two dimensions of turned keys: the positions of a block.
constexpr int kTurnedStride = 32;

// Elements d .. d + 15 of a cached row; d a multiple of 16.
template <CacheType kType>
REALM_INLINE Vec load_cached(const uint8_t* row, int64_t d) {
  if constexpr (kType == CacheType::kF32) return load(reinterpret_cast<const float*>(row) + d);
  if constexpr (kType == CacheType::kF16) {
    return load_f16(reinterpret_cast<const uint16_t*>(row) + d);
  }
  if constexpr (kType == CacheType::kBF16) {
    return load_bf16(reinterpret_cast<const uint16_t*>(row) + d);
  }
  if constexpr (kType == CacheType::kE4M3) return load_e4m3(row + d);
  // Q8_0 blocks of 32: a half-precision scale, then 32 codes.
  const uint8_t* block = row + d / 32 * 34;
  uint16_t halves[kLanes];
  for (uint16_t& half : halves) memcpy(&half, block, 2);
  return mul(load_i8(reinterpret_cast<const int8_t*>(block + 2 + d % 32)), load_f16(halves));
}

// The first n of elements d .. d + 15, the rest zero.
template <CacheType kType>
REALM_INLINE Vec load_cached_partial(const uint8_t* row, int64_t d, int64_t n) {
  static_assert(kType != CacheType::kQ8_0);  // its rows are whole blocks
  constexpr auto kBytes = static_cast<size_t>(kElementBytes<kType>);
  alignas(64) uint8_t buffer[kLanes * sizeof(float)] = {};
  memcpy(buffer, row + static_cast<size_t>(d) * kBytes, static_cast<size_t>(n) * kBytes);
  return load_cached<kType>(buffer, 0);
}

// The scales of sixteen Q8_0 rows' block that holds dimension d.
REALM_INLINE Vec load_scales(const uint8_t* rows, int64_t stride, int64_t d) {
  uint16_t halves[kLanes];
  for (int i = 0; i < kLanes; ++i) memcpy(&halves[i], rows + i * stride + d / 32 * 34, 2);
  return load_f16(halves);
}

// out[i * kTurnedStride + p] = element d + i of row p, for i and p below 16.
#if defined(__AVX2__)

REALM_INLINE void turn_f32(const uint8_t* rows, int64_t stride, int64_t d, float* out) {
  for (int p = 0; p < 16; p += 8) {
    for (int i = 0; i < 16; i += 4) {
      __m256 r[4], t[4];
      for (int j = 0; j < 4; ++j) {
        const auto* low = reinterpret_cast<const float*>(rows + (p + j) * stride) + d + i;
        const auto* high = reinterpret_cast<const float*>(rows + (p + j + 4) * stride) + d + i;
        r[j] =
            _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
      }
      t[0] = _mm256_unpacklo_ps(r[0], r[1]), t[1] = _mm256_unpackhi_ps(r[0], r[1]);
      t[2] = _mm256_unpacklo_ps(r[2], r[3]), t[3] = _mm256_unpackhi_ps(r[2], r[3]);
      float* to = out + i * kTurnedStride + p;
      _mm256_storeu_ps(to, _mm256_shuffle_ps(t[0], t[2], 0x44));
      _mm256_storeu_ps(to + kTurnedStride, _mm256_shuffle_ps(t[0], t[2], 0xee));
      _mm256_storeu_ps(to + 2 * kTurnedStride, _mm256_shuffle_ps(t[1], t[3], 0x44));
      _mm256_storeu_ps(to + 3 * kTurnedStride, _mm256_shuffle_ps(t[1], t[3], 0xee));
    }
  }
}

REALM_INLINE void store_8(CacheType type, float* to, __m128i halves) {
  if (type == CacheType::kF16) {
    _mm256_storeu_ps(to, _mm256_cvtph_ps(halves));
  } else {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
}

// Interleaving the first half of the rows with the second, log2(rows) times over, is a transpose.
template <CacheType kType>
REALM_INLINE void turn_16(const uint8_t* rows, int64_t stride, int64_t d, float* out) {
  for (int p = 0; p < 16; p += 8) {
    __m256i a[8], b[8];
    for (int j = 0; j < 8; ++j) {
      a[j] = _mm256_loadu_si256(
          reinterpret_cast<const __m256i*>(rows + (p + j) * stride + d * int64_t{2}));
    }
    for (int j = 0; j < 4; ++j) {
      b[2 * j] = _mm256_unpacklo_epi16(a[j], a[j + 4]);
      b[2 * j + 1] = _mm256_unpackhi_epi16(a[j], a[j + 4]);
    }
    for (int j = 0; j < 4; ++j) {
      a[2 * j] = _mm256_unpacklo_epi16(b[j], b[j + 4]);
      a[2 * j + 1] = _mm256_unpackhi_epi16(b[j], b[j + 4]);
    }
    for (int j = 0; j < 4; ++j) {
      b[2 * j] = _mm256_unpacklo_epi16(a[j], a[j + 4]);
      b[2 * j + 1] = _mm256_unpackhi_epi16(a[j], a[j + 4]);
    }
    for (int j = 0; j < 8; ++j) {  // halves of b[j]: dimensions j and j + 8
      float* to = out + j * kTurnedStride + p;
      store_8(kType, to, _mm256_castsi256_si128(b[j]));
      store_8(kType, to + 8 * kTurnedStride, _mm256_extracti128_si256(b[j], 1));
    }
  }
}

// a[i] = byte i of sixteen rows.
REALM_INLINE void turn_bytes(const uint8_t* rows, int64_t stride, __m128i (&a)[16]) {
  __m128i b[16];
  for (int j = 0; j < 16; ++j) {
    a[j] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + j * stride));
  }
  for (int round = 0; round < 2; ++round) {
    for (int j = 0; j < 8; ++j) {
      b[2 * j] = _mm_unpacklo_epi8(a[j], a[j + 8]);
      b[2 * j + 1] = _mm_unpackhi_epi8(a[j], a[j + 8]);
    }
    for (int j = 0; j < 8; ++j) {
      a[2 * j] = _mm_unpacklo_epi8(b[j], b[j + 8]);
      a[2 * j + 1] = _mm_unpackhi_epi8(b[j], b[j + 8]);
    }
  }
}

REALM_INLINE void turn_q8_0(const uint8_t* rows, int64_t stride, int64_t d, float* out) {
  const Vec scales = load_scales(rows, stride, d);
  __m128i a[16];
  turn_bytes(rows + d / 32 * 34 + 2 + d % 32, stride, a);
  for (int j = 0; j < 16; ++j) {
    alignas(16) int8_t codes[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(codes), a[j]);
    store(out + j * kTurnedStride, mul(load_i8(codes), scales));
  }
}

REALM_INLINE void turn_e4m3(const uint8_t* rows, int64_t stride, int64_t d, float* out) {
  __m128i a[16];
  turn_bytes(rows + d, stride, a);
  for (int j = 0; j < 16; ++j) {
    alignas(16) uint8_t codes[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(codes), a[j]);
    store(out + j * kTurnedStride, load_e4m3(codes));
  }
}

template <CacheType kType>
REALM_INLINE void turn(const uint8_t* rows, int64_t stride, int64_t d, float* out) {
  if constexpr (kType == CacheType::kF32) turn_f32(rows, stride, d, out);
  if constexpr (kType == CacheType::kF16) turn_16<kType>(rows, stride, d, out);
  if constexpr (kType == CacheType::kBF16) turn_16<kType>(rows, stride, d, out);
  if constexpr (kType == CacheType::kQ8_0) turn_q8_0(rows, stride, d, out);
  if constexpr (kType == CacheType::kE4M3) turn_e4m3(rows, stride, d, out);
}

#elif defined(__ARM_NEON) && defined(REALM_ISA_IS_NEON)

template <CacheType kType>
REALM_INLINE void turn(const uint8_t* rows, int64_t stride, int64_t d, float* out) {
  for (int p = 0; p < 16; p += 4) {
    Vec r[4];
    for (int j = 0; j < 4; ++j) r[j] = load_cached<kType>(rows + (p + j) * stride, d);
    for (int i = 0; i < 4; ++i) {
      const float32x4_t t0 = vtrn1q_f32(r[0].q[i], r[1].q[i]);
      const float32x4_t t1 = vtrn2q_f32(r[0].q[i], r[1].q[i]);
      const float32x4_t t2 = vtrn1q_f32(r[2].q[i], r[3].q[i]);
      const float32x4_t t3 = vtrn2q_f32(r[2].q[i], r[3].q[i]);
      float* to = out + 4 * i * kTurnedStride + p;
      vst1q_f32(to, vcombine_f32(vget_low_f32(t0), vget_low_f32(t2)));
      vst1q_f32(to + kTurnedStride, vcombine_f32(vget_low_f32(t1), vget_low_f32(t3)));
      vst1q_f32(to + 2 * kTurnedStride, vcombine_f32(vget_high_f32(t0), vget_high_f32(t2)));
      vst1q_f32(to + 3 * kTurnedStride, vcombine_f32(vget_high_f32(t1), vget_high_f32(t3)));
    }
  }
}

#else

template <CacheType kType>
REALM_INLINE void turn(const uint8_t* rows, int64_t stride, int64_t d, float* out) {
  for (int p = 0; p < 16; ++p) {
    const Vec row = load_cached<kType>(rows + p * stride, d);
    for (int i = 0; i < kLanes; ++i) out[i * kTurnedStride + p] = row.lane[i];
  }
}

#endif

// The remaining n < 16 dimensions from d on.
template <CacheType kType>
REALM_INLINE void turn_partial(const uint8_t* rows, int64_t stride, int64_t d, int64_t n,
                               float* out) {
  for (int p = 0; p < 16; ++p) {
    float row[kLanes];
    store(row, load_cached_partial<kType>(rows + p * stride, d, n));
    for (int64_t i = 0; i < n; ++i) out[i * kTurnedStride + p] = row[i];
  }
}

}  // namespace realm::cpu::REALM_ISA
