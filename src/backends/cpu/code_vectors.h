// Thirty-two codes of a block, one a byte, as one AVX2 register or two of NEON: the few operations
// that taking blocks apart needs, so that a format is taken apart in one place (block_codes.h) for
// both instruction sets.
//
// Included only by files that define REALM_ISA and are compiled for it, under the rules of simd.h.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#ifndef REALM_INLINE
#define REALM_INLINE static inline __attribute__((always_inline))
#endif

namespace realm::cpu::REALM_ISA {

#if defined(__AVX2__)

struct Codes {
  __m256i v;
};
REALM_INLINE Codes load_codes(const uint8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
REALM_INLINE void store_codes(uint8_t* p, Codes a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v);
}
REALM_INLINE Codes operator|(Codes a, Codes b) {
  return {_mm256_or_si256(a.v, b.v)};
}
REALM_INLINE Codes operator&(Codes a, uint8_t mask) {
  return {_mm256_and_si256(a.v, _mm256_set1_epi8(static_cast<char>(mask)))};
}
// Bits `mask` of every byte shifted by `shift` bits, up or (negative) down; no bit of the mask may
// come from the neighbouring byte.
REALM_INLINE Codes field(Codes a, int shift, uint8_t mask) {
  const __m256i moved = shift < 0 ? _mm256_srli_epi16(a.v, -shift) : _mm256_slli_epi16(a.v, shift);
  return Codes{moved} & mask;
}
// Sixteen bytes: their low nibbles, then their high ones.
REALM_INLINE Codes nibbles_16(const uint8_t* p) {
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return Codes{_mm256_set_m128i(_mm_srli_epi16(b, 4), b)} & 15;
}
REALM_INLINE Codes load_two_16(const uint8_t* a, const uint8_t* b) {
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b));
  return {_mm256_set_m128i(high, _mm_loadu_si128(reinterpret_cast<const __m128i*>(a)))};
}
// Two runs of eight bytes, each its low nibbles, then its high ones.
REALM_INLINE Codes nibbles_8_8(const uint8_t* p) {
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i high = _mm_srli_epi16(b, 4);
  return Codes{_mm256_set_m128i(_mm_unpackhi_epi64(b, high), _mm_unpacklo_epi64(b, high))} & 15;
}
// Byte i is 0xff where bit i is set.
REALM_INLINE Codes spread_bits(const uint8_t* p) {
  int32_t bits;
  memcpy(&bits, p, 4);
  const __m256i from =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201u));
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), from);
  return {_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit)};
}
// Byte i is table[a[i]], a[i] < 16.
REALM_INLINE Codes lookup(const int8_t* table, Codes a) {
  const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), a.v)};
}
// Eight codes from each 64-bit entry of a codebook.
REALM_INLINE Codes from_entries(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return {_mm256_set_epi64x(static_cast<int64_t>(d), static_cast<int64_t>(c),
                            static_cast<int64_t>(b), static_cast<int64_t>(a))};
}
REALM_INLINE Codes operator+(Codes a, Codes b) {
  return {_mm256_add_epi8(a.v, b.v)};
}
// Negates the bytes whose mask is 0xff; the others' mask is 0.
REALM_INLINE Codes negate_where(Codes a, Codes mask) {
  return {_mm256_sub_epi8(_mm256_xor_si256(a.v, mask.v), mask.v)};
}
// Of each byte times the factor the lower eight bits.
REALM_INLINE Codes times(Codes a, uint8_t factor) {
  const __m256i f = _mm256_set1_epi16(factor), low = _mm256_set1_epi16(0xff);
  const __m256i even = _mm256_and_si256(_mm256_mullo_epi16(a.v, f), low);
  const __m256i odd = _mm256_mullo_epi16(_mm256_srli_epi16(a.v, 8), f);
  return {_mm256_or_si256(even, _mm256_slli_epi16(odd, 8))};
}
// Bytes that are at least `bound`: 0xff, the others 0.
REALM_INLINE Codes at_least(Codes a, uint8_t bound) {
  const __m256i b = _mm256_set1_epi8(static_cast<char>(bound));
  return {_mm256_cmpeq_epi8(_mm256_max_epu8(a.v, b), a.v)};
}
// The first sixteen of a, the second sixteen of b.
REALM_INLINE Codes halves_of(Codes a, Codes b) {
  return {_mm256_blend_epi32(a.v, b.v, 0xf0)};
}
REALM_INLINE float half_at(const uint8_t* p) {
  uint16_t h;
  memcpy(&h, p, 2);
  return _cvtsh_ss(h);
}

#elif defined(__ARM_NEON)

struct Codes {
  uint8x16_t lo, hi;
};
REALM_INLINE Codes load_codes(const uint8_t* p) {
  return {vld1q_u8(p), vld1q_u8(p + 16)};
}
REALM_INLINE void store_codes(uint8_t* p, Codes a) {
  vst1q_u8(p, a.lo);
  vst1q_u8(p + 16, a.hi);
}
REALM_INLINE Codes operator|(Codes a, Codes b) {
  return {vorrq_u8(a.lo, b.lo), vorrq_u8(a.hi, b.hi)};
}
REALM_INLINE Codes operator&(Codes a, uint8_t mask) {
  const uint8x16_t m = vdupq_n_u8(mask);
  return {vandq_u8(a.lo, m), vandq_u8(a.hi, m)};
}
REALM_INLINE Codes field(Codes a, int shift, uint8_t mask) {
  const int8x16_t by = vdupq_n_s8(static_cast<int8_t>(shift));
  return Codes{vshlq_u8(a.lo, by), vshlq_u8(a.hi, by)} & mask;
}
REALM_INLINE Codes nibbles_16(const uint8_t* p) {
  const uint8x16_t b = vld1q_u8(p);
  return {vandq_u8(b, vdupq_n_u8(15)), vshrq_n_u8(b, 4)};
}
REALM_INLINE Codes load_two_16(const uint8_t* a, const uint8_t* b) {
  return {vld1q_u8(a), vld1q_u8(b)};
}
REALM_INLINE Codes nibbles_8_8(const uint8_t* p) {
  const uint8x16_t b = vld1q_u8(p);
  const uint8x16_t low = vandq_u8(b, vdupq_n_u8(15)), high = vshrq_n_u8(b, 4);
  return {vcombine_u8(vget_low_u8(low), vget_low_u8(high)),
          vcombine_u8(vget_high_u8(low), vget_high_u8(high))};
}
REALM_INLINE Codes spread_bits(const uint8_t* p) {
  const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
  const uint8x16_t a = vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1]));
  const uint8x16_t b = vcombine_u8(vdup_n_u8(p[2]), vdup_n_u8(p[3]));
  return {vtstq_u8(a, bit), vtstq_u8(b, bit)};
}
REALM_INLINE Codes lookup(const int8_t* table, Codes a) {
  const uint8x16_t t = vreinterpretq_u8_s8(vld1q_s8(table));
  return {vqtbl1q_u8(t, a.lo), vqtbl1q_u8(t, a.hi)};
}
REALM_INLINE Codes from_entries(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return {vcombine_u8(vcreate_u8(a), vcreate_u8(b)), vcombine_u8(vcreate_u8(c), vcreate_u8(d))};
}
REALM_INLINE Codes operator+(Codes a, Codes b) {
  return {vaddq_u8(a.lo, b.lo), vaddq_u8(a.hi, b.hi)};
}
REALM_INLINE Codes negate_where(Codes a, Codes mask) {
  return {vsubq_u8(veorq_u8(a.lo, mask.lo), mask.lo), vsubq_u8(veorq_u8(a.hi, mask.hi), mask.hi)};
}
REALM_INLINE Codes times(Codes a, uint8_t factor) {
  const uint8x16_t f = vdupq_n_u8(factor);
  return {vmulq_u8(a.lo, f), vmulq_u8(a.hi, f)};
}
REALM_INLINE Codes at_least(Codes a, uint8_t bound) {
  const uint8x16_t b = vdupq_n_u8(bound);
  return {vcgeq_u8(a.lo, b), vcgeq_u8(a.hi, b)};
}
REALM_INLINE Codes halves_of(Codes a, Codes b) {
  return {a.lo, b.hi};
}
REALM_INLINE float half_at(const uint8_t* p) {
  __fp16 h;
  memcpy(&h, p, 2);
  return static_cast<float>(h);
}

#endif

}  // namespace realm::cpu::REALM_ISA
