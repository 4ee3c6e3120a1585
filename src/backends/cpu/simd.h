// Sixteen floats, on every instruction set with the same results to the last bit: one AVX-512
// register, two of AVX2, four of NEON, or an array. Kernels written against this type (in
// kernels.inc.h) are compiled once per instruction set, in a namespace of that name; multiply-add
// is always fused and sums over lanes are always the same tree, so every path agrees bit for bit.
//
// Included only by the kernels_*.cpp files, which define REALM_ISA first. Nothing here may call an
// inline function of another header: the linker could keep the copy compiled for the wrong set.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define REALM_INLINE static inline __attribute__((always_inline))

namespace realm::cpu::REALM_ISA {

constexpr int kLanes = 16;

#if defined(__AVX512F__)

struct Vec {
  __m512 v;
};
REALM_INLINE Vec load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
REALM_INLINE Vec load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
REALM_INLINE Vec load_bf16(const uint16_t* p) {
  const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))};
}
REALM_INLINE Vec load_i8(const int8_t* p) {
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(b))};
}
// E4M3 is half precision of an exponent less by 8, but for the code that is not a number.
REALM_INLINE __m256i e4m3_halves(const uint8_t* p) {
  const __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i mask = _mm256_set1_epi16(0x3f80);
  const __m256i halves =
      _mm256_and_si256(_mm256_slli_epi16(codes, 7), _mm256_set1_epi16(static_cast<short>(0xbf80)));
  const __m256i nan = _mm256_cmpeq_epi16(_mm256_and_si256(halves, mask), mask);
  return _mm256_or_si256(halves, _mm256_and_si256(nan, _mm256_set1_epi16(0x7e00)));
}
REALM_INLINE Vec load_e4m3(const uint8_t* p) {
  return {_mm512_mul_ps(_mm512_cvtph_ps(e4m3_halves(p)), _mm512_set1_ps(256.0f))};
}
REALM_INLINE void store(float* p, Vec a) {
  _mm512_storeu_ps(p, a.v);
}
REALM_INLINE void store_f16(uint16_t* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
// Lanes hold integers in [-127, 127].
REALM_INLINE void store_i8(int8_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}
REALM_INLINE Vec splat(float x) {
  return {_mm512_set1_ps(x)};
}
REALM_INLINE Vec zero() {
  return {_mm512_setzero_ps()};
}
REALM_INLINE Vec fma(Vec a, Vec b, Vec c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
REALM_INLINE Vec add(Vec a, Vec b) {
  return {_mm512_add_ps(a.v, b.v)};
}
REALM_INLINE Vec sub(Vec a, Vec b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
REALM_INLINE Vec mul(Vec a, Vec b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
REALM_INLINE Vec div(Vec a, Vec b) {
  return {_mm512_div_ps(a.v, b.v)};
}
REALM_INLINE Vec max(Vec a, Vec b) {
  return {_mm512_max_ps(a.v, b.v)};
}
REALM_INLINE Vec min(Vec a, Vec b) {
  return {_mm512_min_ps(a.v, b.v)};
}
// 2^n for integral n in [-126, 127].
REALM_INLINE Vec exp2_int(Vec n) {
  const __m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(e, 23))};
}
// p * 2^n, n the integer in the low bits of t, which a rounding addition of 1.5 * 2^23 left there.
REALM_INLINE Vec times_exp2(Vec p, Vec t) {
  return {_mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(p.v), _mm512_slli_epi32(_mm512_castps_si512(t.v), 23)))};
}
// Lanes outside [first, end) replaced.
REALM_INLINE Vec keep_lanes(Vec a, int first, int end, float other) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __mmask16 kept = _mm512_cmpge_epi32_mask(lane, _mm512_set1_epi32(first)) &
                         _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(end));
  return {_mm512_mask_blend_ps(kept, _mm512_set1_ps(other), a.v)};
}
REALM_INLINE float first_lane(Vec a) {
  return _mm512_cvtss_f32(a.v);
}
// (a0, a1, a2, ...) -> the even lanes of (a, b), the odd lanes of (a, b).
REALM_INLINE void deinterleave(Vec a, Vec b, Vec& even, Vec& odd) {
  const __m512i e = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i o = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  even = {_mm512_permutex2var_ps(a.v, e, b.v)};
  odd = {_mm512_permutex2var_ps(a.v, o, b.v)};
}
REALM_INLINE void interleave(Vec even, Vec odd, Vec& a, Vec& b) {
  const __m512i lo = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i hi =
      _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  a = {_mm512_permutex2var_ps(even.v, lo, odd.v)};
  b = {_mm512_permutex2var_ps(even.v, hi, odd.v)};
}
// Lane i of the result is the sum of v[i]'s lanes, in the tree of reduce_add.
REALM_INLINE Vec reduce_add_16(const Vec* v) {
  __m512 a[8], b[4], c[2];
  for (int i = 0; i < 8; ++i) {
    // Pairs (i, i + 8) so that the halves land in the right order below.
    const __m512 x = v[i].v, y = v[i + 8].v;
    a[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
  }
  for (int i = 0; i < 4; ++i) {
    // a[i]: v[i] | v[i+8]; a[i+4]: v[i+4] | v[i+12]. Afterwards: i, i+8, i+4, i+12.
    b[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x88),
                         _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd));
  }
  for (int i = 0; i < 2; ++i) {
    c[i] = _mm512_add_ps(_mm512_shuffle_ps(b[i], b[i + 2], 0x44),
                         _mm512_shuffle_ps(b[i], b[i + 2], 0xee));
  }
  // Each 128-bit lane now holds sums of rows (r, r+2) twice two; the last step pairs (0, 1).
  const __m512 d =
      _mm512_add_ps(_mm512_shuffle_ps(c[0], c[1], 0x88), _mm512_shuffle_ps(c[0], c[1], 0xdd));
  // d's lanes: rows {0,2,1,3} + {0, 8, 4, 12}.
  const __m512i order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
  return {_mm512_permutexvar_ps(order, d)};
}
REALM_INLINE float reduce_add(Vec a) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
REALM_INLINE float reduce_max(Vec a) {
  return _mm512_reduce_max_ps(a.v);
}

#elif defined(__AVX2__)

struct Vec {
  __m256 lo, hi;
};
REALM_INLINE Vec load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
REALM_INLINE Vec load_f16(const uint16_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
REALM_INLINE __m256 bf16_8(const uint16_t* p) {
  const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
REALM_INLINE Vec load_bf16(const uint16_t* p) {
  return {bf16_8(p), bf16_8(p + 8)};
}
REALM_INLINE __m256 i8_8(const int8_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
REALM_INLINE Vec load_i8(const int8_t* p) {
  return {i8_8(p), i8_8(p + 8)};
}
// E4M3 is half precision of an exponent less by 8, but for the code that is not a number.
REALM_INLINE __m256i e4m3_halves(const uint8_t* p) {
  const __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i mask = _mm256_set1_epi16(0x3f80);
  const __m256i halves =
      _mm256_and_si256(_mm256_slli_epi16(codes, 7), _mm256_set1_epi16(static_cast<short>(0xbf80)));
  const __m256i nan = _mm256_cmpeq_epi16(_mm256_and_si256(halves, mask), mask);
  return _mm256_or_si256(halves, _mm256_and_si256(nan, _mm256_set1_epi16(0x7e00)));
}
REALM_INLINE Vec load_e4m3(const uint8_t* p) {
  const __m256i halves = e4m3_halves(p);
  const __m256 factor = _mm256_set1_ps(256.0f);
  return {_mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), factor),
          _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)), factor)};
}
REALM_INLINE void store(float* p, Vec a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
REALM_INLINE void store_f16(uint16_t* p, Vec a) {
  __m128i* q = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(q, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(q + 1, _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
REALM_INLINE void store_i8(int8_t* p, Vec a) {
  const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(p),
      _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)));
}
REALM_INLINE Vec splat(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
REALM_INLINE Vec zero() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
REALM_INLINE Vec fma(Vec a, Vec b, Vec c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
REALM_INLINE Vec add(Vec a, Vec b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
REALM_INLINE Vec sub(Vec a, Vec b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
REALM_INLINE Vec mul(Vec a, Vec b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
REALM_INLINE Vec div(Vec a, Vec b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
REALM_INLINE Vec max(Vec a, Vec b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
REALM_INLINE Vec min(Vec a, Vec b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
REALM_INLINE __m256 exp2_int_8(__m256 n) {
  const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
REALM_INLINE Vec exp2_int(Vec n) {
  return {exp2_int_8(n.lo), exp2_int_8(n.hi)};
}
REALM_INLINE __m256 times_exp2_8(__m256 p, __m256 t) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}
REALM_INLINE Vec times_exp2(Vec p, Vec t) {
  return {times_exp2_8(p.lo, t.lo), times_exp2_8(p.hi, t.hi)};
}
REALM_INLINE __m256 keep_lanes_8(__m256 a, int first, int end, float other) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i kept = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(first), lane),
                                           _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
  return _mm256_blendv_ps(_mm256_set1_ps(other), a, _mm256_castsi256_ps(kept));
}
REALM_INLINE Vec keep_lanes(Vec a, int first, int end, float other) {
  return {keep_lanes_8(a.lo, first, end, other), keep_lanes_8(a.hi, first - 8, end - 8, other)};
}
REALM_INLINE float first_lane(Vec a) {
  return _mm256_cvtss_f32(a.lo);
}
REALM_INLINE __m256 fix_order(__m256 a) {
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8));
}
REALM_INLINE void deinterleave(Vec a, Vec b, Vec& even, Vec& odd) {
  even = {fix_order(_mm256_shuffle_ps(a.lo, a.hi, 0x88)),
          fix_order(_mm256_shuffle_ps(b.lo, b.hi, 0x88))};
  odd = {fix_order(_mm256_shuffle_ps(a.lo, a.hi, 0xdd)),
         fix_order(_mm256_shuffle_ps(b.lo, b.hi, 0xdd))};
}
REALM_INLINE void interleave(Vec even, Vec odd, Vec& a, Vec& b) {
  const __m256 e0 = fix_order(even.lo), o0 = fix_order(odd.lo);
  const __m256 e1 = fix_order(even.hi), o1 = fix_order(odd.hi);
  a = {_mm256_unpacklo_ps(e0, o0), _mm256_unpackhi_ps(e0, o0)};
  b = {_mm256_unpacklo_ps(e1, o1), _mm256_unpackhi_ps(e1, o1)};
}
// Sums of eight Vecs, one a lane, in the tree of reduce_add.
REALM_INLINE __m256 reduce_add_8(const Vec* v) {
  __m256 a[8], b[4], c[2];
  for (int i = 0; i < 8; ++i) a[i] = _mm256_add_ps(v[i].lo, v[i].hi);
  for (int i = 0; i < 4; ++i) {
    b[i] = _mm256_add_ps(_mm256_permute2f128_ps(a[i], a[i + 4], 0x20),
                         _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
  }
  for (int i = 0; i < 2; ++i) {
    c[i] = _mm256_add_ps(_mm256_shuffle_ps(b[i], b[i + 2], 0x44),
                         _mm256_shuffle_ps(b[i], b[i + 2], 0xee));
  }
  const __m256 d =
      _mm256_add_ps(_mm256_shuffle_ps(c[0], c[1], 0x88), _mm256_shuffle_ps(c[0], c[1], 0xdd));
  return _mm256_permute_ps(d, 0xd8);
}
REALM_INLINE Vec reduce_add_16(const Vec* v) {
  return {reduce_add_8(v), reduce_add_8(v + 8)};
}
REALM_INLINE float reduce_add(Vec a) {
  const __m256 h = _mm256_add_ps(a.lo, a.hi);
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
REALM_INLINE float reduce_max(Vec a) {
  const __m256 h = _mm256_max_ps(a.lo, a.hi);
  const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(d, _mm_shuffle_ps(d, d, 1)));
}

#elif defined(__ARM_NEON) && defined(REALM_ISA_IS_NEON)

struct Vec {
  float32x4_t q[4];
};
#define REALM_EACH_QUARTER(expression)               \
  Vec r;                                             \
  for (int i = 0; i < 4; ++i) r.q[i] = (expression); \
  return r
REALM_INLINE Vec load(const float* p) {
  REALM_EACH_QUARTER(vld1q_f32(p + 4 * i));
}
REALM_INLINE Vec load_f16(const uint16_t* p) {
  REALM_EACH_QUARTER(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}
REALM_INLINE Vec load_bf16(const uint16_t* p) {
  REALM_EACH_QUARTER(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)));
}
REALM_INLINE Vec load_i8(const int8_t* p) {
  const int8x16_t b = vld1q_s8(p);
  const int16x8_t lo = vmovl_s8(vget_low_s8(b)), hi = vmovl_s8(vget_high_s8(b));
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(lo))),
           vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))),
           vcvtq_f32_s32(vmovl_s16(vget_high_s16(hi)))}};
}
// E4M3 is half precision of an exponent less by 8, but for the code that is not a number.
REALM_INLINE Vec load_e4m3(const uint8_t* p) {
  const uint16x8_t mask = vdupq_n_u16(0x3f80);
  Vec r;
  for (int i = 0; i < 2; ++i) {
    const int16x8_t codes = vmovl_s8(vld1_s8(reinterpret_cast<const int8_t*>(p + 8 * i)));
    uint16x8_t halves =
        vandq_u16(vreinterpretq_u16_s16(vshlq_n_s16(codes, 7)), vdupq_n_u16(0xbf80));
    const uint16x8_t nan = vceqq_u16(vandq_u16(halves, mask), mask);
    halves = vorrq_u16(halves, vandq_u16(nan, vdupq_n_u16(0x7e00)));
    r.q[2 * i] = vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(halves))), 256.0f);
    r.q[2 * i + 1] = vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(vget_high_u16(halves))), 256.0f);
  }
  return r;
}
REALM_INLINE void store(float* p, Vec a) {
  for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, a.q[i]);
}
REALM_INLINE void store_f16(uint16_t* p, Vec a) {
  for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.q[i])));
}
REALM_INLINE void store_i8(int8_t* p, Vec a) {
  const int16x8_t lo =
      vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(a.q[0])), vqmovn_s32(vcvtnq_s32_f32(a.q[1])));
  const int16x8_t hi =
      vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(a.q[2])), vqmovn_s32(vcvtnq_s32_f32(a.q[3])));
  vst1q_s8(p, vcombine_s8(vqmovn_s16(lo), vqmovn_s16(hi)));
}
REALM_INLINE Vec splat(float x) {
  REALM_EACH_QUARTER(vdupq_n_f32(x));
}
REALM_INLINE Vec zero() {
  return splat(0.0f);
}
REALM_INLINE Vec fma(Vec a, Vec b, Vec c) {
  REALM_EACH_QUARTER(vfmaq_f32(c.q[i], a.q[i], b.q[i]));
}
REALM_INLINE Vec add(Vec a, Vec b) {
  REALM_EACH_QUARTER(vaddq_f32(a.q[i], b.q[i]));
}
REALM_INLINE Vec sub(Vec a, Vec b) {
  REALM_EACH_QUARTER(vsubq_f32(a.q[i], b.q[i]));
}
REALM_INLINE Vec mul(Vec a, Vec b) {
  REALM_EACH_QUARTER(vmulq_f32(a.q[i], b.q[i]));
}
REALM_INLINE Vec div(Vec a, Vec b) {
  REALM_EACH_QUARTER(vdivq_f32(a.q[i], b.q[i]));
}
// The second where either is NaN, as on x86; vmaxq_f32 would give NaN.
REALM_INLINE Vec max(Vec a, Vec b) {
  REALM_EACH_QUARTER(vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]));
}
REALM_INLINE Vec min(Vec a, Vec b) {
  REALM_EACH_QUARTER(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]));
}
REALM_INLINE Vec exp2_int(Vec n) {
  REALM_EACH_QUARTER(
      vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.q[i]), vdupq_n_s32(127)), 23)));
}
REALM_INLINE Vec times_exp2(Vec p, Vec t) {
  REALM_EACH_QUARTER(vreinterpretq_f32_s32(
      vaddq_s32(vreinterpretq_s32_f32(p.q[i]), vshlq_n_s32(vreinterpretq_s32_f32(t.q[i]), 23))));
}
REALM_INLINE Vec keep_lanes(Vec a, int first, int end, float other) {
  const int32_t numbers[4] = {0, 1, 2, 3};
  const int32x4_t lane = vld1q_s32(numbers);
  REALM_EACH_QUARTER(vbslq_f32(vandq_u32(vcgeq_s32(lane, vdupq_n_s32(first - 4 * i)),
                                         vcltq_s32(lane, vdupq_n_s32(end - 4 * i))),
                               a.q[i], vdupq_n_f32(other)));
}
REALM_INLINE float first_lane(Vec a) {
  return vgetq_lane_f32(a.q[0], 0);
}
REALM_INLINE void deinterleave(Vec a, Vec b, Vec& even, Vec& odd) {
  for (int i = 0; i < 2; ++i) {
    even.q[i] = vuzp1q_f32(a.q[2 * i], a.q[2 * i + 1]);
    odd.q[i] = vuzp2q_f32(a.q[2 * i], a.q[2 * i + 1]);
    even.q[i + 2] = vuzp1q_f32(b.q[2 * i], b.q[2 * i + 1]);
    odd.q[i + 2] = vuzp2q_f32(b.q[2 * i], b.q[2 * i + 1]);
  }
}
REALM_INLINE void interleave(Vec even, Vec odd, Vec& a, Vec& b) {
  for (int i = 0; i < 2; ++i) {
    a.q[2 * i] = vzip1q_f32(even.q[i], odd.q[i]);
    a.q[2 * i + 1] = vzip2q_f32(even.q[i], odd.q[i]);
    b.q[2 * i] = vzip1q_f32(even.q[i + 2], odd.q[i + 2]);
    b.q[2 * i + 1] = vzip2q_f32(even.q[i + 2], odd.q[i + 2]);
  }
}
REALM_INLINE float32x4_t sum_to_4(Vec a) {
  return vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
}
REALM_INLINE float32x4_t reduce_add_4(const Vec* v) {
  const float32x4_t a = sum_to_4(v[0]), b = sum_to_4(v[1]), c = sum_to_4(v[2]), d = sum_to_4(v[3]);
  // (0, 2) and (1, 3) first, then their sum.
  const float32x4_t ab = vaddq_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(b)),
                                   vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
  const float32x4_t cd = vaddq_f32(vcombine_f32(vget_low_f32(c), vget_low_f32(d)),
                                   vcombine_f32(vget_high_f32(c), vget_high_f32(d)));
  return vpaddq_f32(ab, cd);
}
REALM_INLINE Vec reduce_add_16(const Vec* v) {
  REALM_EACH_QUARTER(reduce_add_4(v + 4 * i));
}
REALM_INLINE float reduce_add(Vec a) {
  const float32x4_t q = sum_to_4(a);
  const float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));
  return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
REALM_INLINE float reduce_max(Vec a) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.q[0], a.q[1]), vmaxq_f32(a.q[2], a.q[3])));
}
#undef REALM_EACH_QUARTER

#else

struct Vec {
  float lane[kLanes];
};
#define REALM_EACH_LANE(expression)                          \
  Vec r;                                                     \
  for (int i = 0; i < kLanes; ++i) r.lane[i] = (expression); \
  return r
REALM_INLINE float f16_scalar(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 0x1fu, mantissa = h & 0x3ffu;
  uint32_t bits;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    memcpy(&bits, &magnitude, 4);
    bits |= sign;
  } else {
    bits = sign | ((exponent == 31 ? 255 : exponent + 112) << 23) | (mantissa << 13);
  }
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
REALM_INLINE float bf16_scalar(uint16_t h) {
  const uint32_t bits = static_cast<uint32_t>(h) << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
REALM_INLINE uint16_t to_f16_scalar(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    if (magnitude < 0x33000000u) return sign;
    float shifted;
    memcpy(&shifted, &magnitude, 4);
    shifted += 0.5f;
    uint32_t low;
    memcpy(&low, &shifted, 4);
    return static_cast<uint16_t>(sign | (low - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}
REALM_INLINE Vec load(const float* p) {
  REALM_EACH_LANE(p[i]);
}
REALM_INLINE Vec load_f16(const uint16_t* p) {
  REALM_EACH_LANE(f16_scalar(p[i]));
}
REALM_INLINE Vec load_bf16(const uint16_t* p) {
  REALM_EACH_LANE(bf16_scalar(p[i]));
}
REALM_INLINE Vec load_i8(const int8_t* p) {
  REALM_EACH_LANE(static_cast<float>(p[i]));
}
// E4M3 is half precision of an exponent less by 8, but for the code that is not a number.
REALM_INLINE float e4m3_scalar(uint8_t code) {
  const uint16_t half = static_cast<uint16_t>((code & 0x80u) << 8 | (code & 0x7fu) << 7);
  return f16_scalar((code & 0x7fu) == 0x7fu ? static_cast<uint16_t>(half | 0x7e00u) : half) *
         256.0f;
}
REALM_INLINE Vec load_e4m3(const uint8_t* p) {
  REALM_EACH_LANE(e4m3_scalar(p[i]));
}
REALM_INLINE void store(float* p, Vec a) {
  for (int i = 0; i < kLanes; ++i) p[i] = a.lane[i];
}
REALM_INLINE void store_f16(uint16_t* p, Vec a) {
  for (int i = 0; i < kLanes; ++i) p[i] = to_f16_scalar(a.lane[i]);
}
REALM_INLINE void store_i8(int8_t* p, Vec a) {
  for (int i = 0; i < kLanes; ++i) {
    // Written so that NaN, whose row is poisoned by its scale, converts to something.
    p[i] = a.lane[i] >= -127.0f && a.lane[i] <= 127.0f ? static_cast<int8_t>(a.lane[i]) : int8_t{0};
  }
}
REALM_INLINE Vec splat(float x) {
  REALM_EACH_LANE(x);
}
REALM_INLINE Vec zero() {
  return splat(0.0f);
}
REALM_INLINE Vec fma(Vec a, Vec b, Vec c) {
  REALM_EACH_LANE(__builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]));
}
REALM_INLINE Vec add(Vec a, Vec b) {
  REALM_EACH_LANE(a.lane[i] + b.lane[i]);
}
REALM_INLINE Vec sub(Vec a, Vec b) {
  REALM_EACH_LANE(a.lane[i] - b.lane[i]);
}
REALM_INLINE Vec mul(Vec a, Vec b) {
  REALM_EACH_LANE(a.lane[i] * b.lane[i]);
}
REALM_INLINE Vec div(Vec a, Vec b) {
  REALM_EACH_LANE(a.lane[i] / b.lane[i]);
}
REALM_INLINE Vec max(Vec a, Vec b) {
  REALM_EACH_LANE(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]);
}
REALM_INLINE Vec min(Vec a, Vec b) {
  REALM_EACH_LANE(a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]);
}
REALM_INLINE float exp2_int_scalar(float n) {
  const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
REALM_INLINE Vec exp2_int(Vec n) {
  REALM_EACH_LANE(exp2_int_scalar(n.lane[i]));
}
REALM_INLINE float times_exp2_scalar(float p, float t) {
  uint32_t product, power;
  memcpy(&product, &p, 4);
  memcpy(&power, &t, 4);
  product += power << 23;
  memcpy(&p, &product, 4);
  return p;
}
REALM_INLINE Vec times_exp2(Vec p, Vec t) {
  REALM_EACH_LANE(times_exp2_scalar(p.lane[i], t.lane[i]));
}
REALM_INLINE Vec keep_lanes(Vec a, int first, int end, float other) {
  REALM_EACH_LANE(i >= first && i < end ? a.lane[i] : other);
}
REALM_INLINE float first_lane(Vec a) {
  return a.lane[0];
}
REALM_INLINE void deinterleave(Vec a, Vec b, Vec& even, Vec& odd) {
  for (int i = 0; i < 8; ++i) {
    even.lane[i] = a.lane[2 * i], odd.lane[i] = a.lane[2 * i + 1];
    even.lane[i + 8] = b.lane[2 * i], odd.lane[i + 8] = b.lane[2 * i + 1];
  }
}
REALM_INLINE void interleave(Vec even, Vec odd, Vec& a, Vec& b) {
  for (int i = 0; i < 8; ++i) {
    a.lane[2 * i] = even.lane[i], a.lane[2 * i + 1] = odd.lane[i];
    b.lane[2 * i] = even.lane[i + 8], b.lane[2 * i + 1] = odd.lane[i + 8];
  }
}
REALM_INLINE float reduce_add(Vec a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.lane[i] += a.lane[i + width];
  }
  return a.lane[0];
}
REALM_INLINE Vec reduce_add_16(const Vec* v) {
  REALM_EACH_LANE(reduce_add(v[i]));
}
REALM_INLINE float reduce_max(Vec a) {
  float m = a.lane[0];
  for (int i = 1; i < kLanes; ++i) m = a.lane[i] > m ? a.lane[i] : m;
  return m;
}
#undef REALM_EACH_LANE

#endif

// The first n lanes from memory, the rest zero; n in [0, 16].
REALM_INLINE Vec load_partial(const float* p, int64_t n) {
  float buffer[kLanes] = {};
  memcpy(buffer, p, static_cast<size_t>(n) * sizeof(float));
  return load(buffer);
}
REALM_INLINE void store_partial(float* p, Vec a, int64_t n) {
  float buffer[kLanes];
  store(buffer, a);
  memcpy(p, buffer, static_cast<size_t>(n) * sizeof(float));
}

// e^x to about 1 ulp: Cody-Waite reduction by log 2 and a degree-6 Taylor-like polynomial on
// [-ln2/2, ln2/2]; arguments are clamped so that the result is a normal number.
REALM_INLINE Vec exp(Vec x) {
  x = min(splat(88.0f), max(splat(-87.0f), x));  // in this order a NaN stays one
  // Adding 1.5 * 2^23 rounds to the nearest integer in the low mantissa bits.
  const Vec magic = splat(12582912.0f);
  const Vec n = sub(fma(x, splat(1.44269504088896341f), magic), magic);
  Vec r = fma(n, splat(-0.693145751953125f), x);
  r = fma(n, splat(-1.42860682030941723212e-6f), r);
  Vec p = splat(1.0f / 720.0f);
  p = fma(p, r, splat(1.0f / 120.0f));
  p = fma(p, r, splat(1.0f / 24.0f));
  p = fma(p, r, splat(1.0f / 6.0f));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
  return mul(p, exp2_int(n));
}

// 2^x for x <= 0, to about 1 ulp, exactly 1 at 0; what is below 2^-100 counts as that.
REALM_INLINE Vec exp2_negative(Vec x) {
  x = max(splat(-100.0f), x);            // in this order a NaN stays one
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec t = add(x, magic);
  const Vec r = sub(x, sub(t, magic));
  Vec p = splat(0x1.5bba0cp-10f);
  p = fma(p, r, splat(0x1.3cea88p-7f));
  p = fma(p, r, splat(0x1.c6b752p-5f));
  p = fma(p, r, splat(0x1.ebf9bcp-3f));
  p = fma(p, r, splat(0x1.62e42ap-1f));
  p = fma(p, r, splat(1.0f));
  return times_exp2(p, t);
}

REALM_INLINE Vec tanh(Vec x) {
  // 1 - 2 / (e^2x + 1)
  const Vec e = exp(add(x, x));
  return sub(splat(1.0f), div(splat(2.0f), add(e, splat(1.0f))));
}

}  // namespace realm::cpu::REALM_ISA
