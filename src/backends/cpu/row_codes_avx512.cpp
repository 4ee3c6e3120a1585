#include "backends/cpu/row_codes_avx512.h"

#include <immintrin.h>
#include <string.h>

namespace realm::cpu::avx512 {
namespace {

float half_at(const uint8_t* p) {
  uint16_t h;
  memcpy(&h, p, 2);
  return _cvtsh_ss(h);
}

__m256i load_32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
__m512i load_64(const void* p) {
  return _mm512_loadu_si512(p);
}

// Any format, through its own unpack().
void unpack_any(const BlockFormat& format, const uint8_t* data, int64_t k, RowCodes& out) {
  const UnpackShape& shape = format.shape;
  const CodeShape code = code_shape(format);
  UnpackedBlock block;
  for (int64_t begin = 0; begin < k; begin += shape.elements, data += format.block_bytes) {
    format.unpack(data, block);
    memcpy(out.codes + begin, block.codes, static_cast<size_t>(shape.elements));
    for (int first = 0; first < shape.elements; first += code.sub) {
      const int64_t j = (begin + first) / code.sub;
      const int scale = first / shape.sub_block;
      if (code.super) {
        out.scales[j] = block.scales[scale];
        if (shape.has_min) out.mins[j] = block.mins[scale];
      } else {
        const float d = block.d[first / (shape.elements / shape.num_d)];
        out.factors[j] = d * static_cast<float>(block.scales[scale]);
        if (shape.has_min) out.minima[j] = block.dmin * static_cast<float>(block.mins[scale]);
      }
    }
    if (code.super) {
      out.d[begin / 256] = block.d[0];
      out.dmin[begin / 256] = shape.has_min ? block.dmin : 0.0f;
    }
  }
}

void unpack_q8_0(const BlockFormat&, const uint8_t* data, int64_t k, RowCodes& out) {
  for (int64_t c = 0; c < k / 32; ++c, data += 34) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out.codes + 32 * c), load_32(data + 2));
    out.factors[c] = half_at(data);
  }
}

void unpack_q4_0(const BlockFormat&, const uint8_t* data, int64_t k, RowCodes& out) {
  const __m256i mask = _mm256_set1_epi8(15), eight = _mm256_set1_epi8(8);
  for (int64_t c = 0; c < k / 32; ++c, data += 18) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + 2));
    const __m256i both =
        _mm256_inserti128_si256(_mm256_castsi128_si256(packed), _mm_srli_epi16(packed, 4), 1);
    _mm256_store_si256(reinterpret_cast<__m256i*>(out.codes + 32 * c),
                       _mm256_sub_epi8(_mm256_and_si256(both, mask), eight));
    out.factors[c] = half_at(data);
  }
}

// The twelve bytes of 6-bit scales and minima of Q4_K and Q5_K as eight bytes each.
void k_scales(const uint8_t* p, uint64_t& scales, uint64_t& mins) {
  uint32_t a, b, c;
  memcpy(&a, p, 4), memcpy(&b, p + 4, 4), memcpy(&c, p + 8, 4);
  const uint32_t scales_hi = (c & 0x0f0f0f0fu) | ((a >> 2) & 0x30303030u);
  const uint32_t mins_hi = ((c >> 4) & 0x0f0f0f0fu) | ((b >> 2) & 0x30303030u);
  scales = (a & 0x3f3f3f3fu) | (static_cast<uint64_t>(scales_hi) << 32);
  mins = (b & 0x3f3f3f3fu) | (static_cast<uint64_t>(mins_hi) << 32);
}

void store_k_scales(const uint8_t* data, int64_t block, RowCodes& out) {
  uint64_t scales, mins;
  k_scales(data + 4, scales, mins);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.scales + 8 * block),
                      _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(scales))));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out.mins + 8 * block),
                   _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(mins))));
  out.d[block] = half_at(data);
  out.dmin[block] = half_at(data + 2);
}

// Low nibbles of 32 bytes, then their high nibbles.
__m512i nibbles_64(const uint8_t* p) {
  const __m512i both = _mm512_broadcast_i64x4(load_32(p));
  const __m512i shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
  return _mm512_and_si512(_mm512_srlv_epi16(both, shift), _mm512_set1_epi8(15));
}

void unpack_q4_k(const BlockFormat&, const uint8_t* data, int64_t k, RowCodes& out) {
  for (int64_t b = 0; b < k / 256; ++b, data += 144) {
    for (int q = 0; q < 4; ++q) {
      _mm512_store_si512(out.codes + 256 * b + 64 * q, nibbles_64(data + 16 + 32 * q));
    }
    store_k_scales(data, b, out);
  }
}

void unpack_q5_k(const BlockFormat&, const uint8_t* data, int64_t k, RowCodes& out) {
  for (int64_t b = 0; b < k / 256; ++b, data += 176) {
    const __m256i high = load_32(data + 16);
    for (int q = 0; q < 4; ++q) {
      // Bits 2q and 2q + 1 of each byte of qh are the fifth bits of the two halves.
      const __m512i bits =
          _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_srli_epi16(high, 2 * q)),
                             _mm256_srli_epi16(high, 2 * q + 1), 1);
      const __m512i fifth = _mm512_slli_epi16(_mm512_and_si512(bits, _mm512_set1_epi8(1)), 4);
      _mm512_store_si512(out.codes + 256 * b + 64 * q,
                         _mm512_or_si512(nibbles_64(data + 48 + 32 * q), fifth));
    }
    store_k_scales(data, b, out);
  }
}

void unpack_q6_k(const BlockFormat&, const uint8_t* data, int64_t k, RowCodes& out) {
  const __m512i shift_low = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
  const __m512i shift_high = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
  const __m512i nibble = _mm512_set1_epi8(15), upper = _mm512_set1_epi8(0x30);
  const __m512i offset = _mm512_set1_epi8(32);
  for (int64_t b = 0; b < k / 256; ++b, data += 210) {
    for (int half = 0; half < 2; ++half) {
      const __m512i low = load_64(data + 64 * half);
      const __m512i high = _mm512_broadcast_i64x4(load_32(data + 128 + 32 * half));
      const __m512i a =
          _mm512_or_si512(_mm512_and_si512(low, nibble),
                          _mm512_and_si512(_mm512_sllv_epi16(high, shift_low), upper));
      const __m512i c =
          _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(low, 4), nibble),
                          _mm512_and_si512(_mm512_srlv_epi16(high, shift_high), upper));
      _mm512_store_si512(out.codes + 256 * b + 128 * half, _mm512_sub_epi8(a, offset));
      _mm512_store_si512(out.codes + 256 * b + 128 * half + 64, _mm512_sub_epi8(c, offset));
    }
    _mm512_storeu_si512(
        out.scales + 16 * b,
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data + 192))));
    out.d[b] = half_at(data + 208);
  }
}

}  // namespace

CodeShape code_shape(const BlockFormat& format) {
  return {.super = format.block_elements == 256,
          .sub = format.shape.sub_block < 32 ? 16 : 32,
          .has_min = format.shape.has_min};
}

RowUnpacker row_unpacker(DType type) {
  switch (type) {
    case DType::kQ8_0:
      return unpack_q8_0;
    case DType::kQ4_0:
      return unpack_q4_0;
    case DType::kQ4_K:
      return unpack_q4_k;
    case DType::kQ5_K:
      return unpack_q5_k;
    case DType::kQ6_K:
      return unpack_q6_k;
    default:
      return unpack_any;
  }
}

}  // namespace realm::cpu::avx512
