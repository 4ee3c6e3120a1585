#define REALM_ISA avx512
#include "backends/cpu/row_codes_avx512.h"

#include "backends/cpu/format_kernels.h"

namespace realm::cpu::avx512 {
namespace {

// Sixteen bytes to integers of 32 and of 16 bits.
REALM_INLINE __m512i wide(ScaleBytes s) {
  return _mm512_cvtepi8_epi32(
      _mm_set_epi64x(static_cast<int64_t>(s.hi), static_cast<int64_t>(s.lo)));
}
REALM_INLINE __m256i words(ScaleBytes s) {
  return _mm256_cvtepi8_epi16(
      _mm_set_epi64x(static_cast<int64_t>(s.hi), static_cast<int64_t>(s.lo)));
}

template <typename F>
REALM_INLINE void unpack_codes(const uint8_t* block, int v, int8_t* to) {
  const __m256i bias = _mm256_set1_epi8(static_cast<char>(F::kBias));
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm256_sub_epi8(F::codes(block, v).v, bias));
}

template <typename F>
REALM_INLINE void unpack_super(const uint8_t* block, int64_t b, RowCodes& out) {
  for (int v = 0; v < 8; ++v) unpack_codes<F>(block, v, out.codes + 256 * b + 32 * v);
  constexpr int kScales = 256 / F::kSub;
  constexpr __mmask16 kMask = static_cast<__mmask16>((1u << kScales) - 1);
  _mm512_mask_storeu_epi32(out.scales + kScales * b, kMask, wide(F::scales(block)));
  out.d[b] = F::d(block);
  out.dmin[b] = 0.0f;
  if constexpr (F::kHasMin) {
    _mm256_mask_storeu_epi16(out.mins + kScales * b, kMask, words(F::mins(block)));
    out.dmin[b] = F::dmin(block);
  }
}

// Elements 32 v and following of a small block, which are the stretch's group g.
template <typename F>
REALM_INLINE void unpack_small(const uint8_t* block, int v, int first_scale, int64_t g,
                               RowCodes& out) {
  constexpr int kHalves = 32 / F::kSub;
  unpack_codes<F>(block, v, out.codes + 32 * g);
  for (int half = 0; half < kHalves; ++half) {
    out.factors[kHalves * g + half] = F::scale(block, first_scale + half);
  }
  if constexpr (F::kHasMin) out.minima[g] = F::min(block);
}

template <typename F>
struct UnpackRow {
  static void run(const BlockFormat& format, const uint8_t* data, int64_t k, RowCodes& out) {
    typename BufferOf<F>::Type buffer;
    if constexpr (F::kElements == 256) {
      for (int64_t b = 0; b < k / 256; ++b, data += bytes_of_block<F>(format)) {
        unpack_super<F>(block_at<F>(format, data, 0, buffer), b, out);
      }
    } else {
      const int block_groups = groups_of_block<F>(format);
      for (int64_t g = 0; g < k / 32; ++g) {
        const int v = static_cast<int>(g % block_groups);
        const uint8_t* block =
            block_at<F>(format, data + g / block_groups * bytes_of_block<F>(format), v, buffer);
        unpack_small<F>(block, v, kUnpacksFirst<F> ? 0 : v * (32 / F::kSub), g, out);
      }
    }
  }
};

}  // namespace

CodeShape code_shape(const BlockFormat& format) {
  return {.super = format.block_elements == 256,
          .sub = format.shape.sub_block < 32 ? 16 : 32,
          .has_min = format.shape.has_min};
}

RowUnpacker row_unpacker(const BlockFormat& format) {
  return kernel_for<RowUnpacker, UnpackRow>(format);
}

}  // namespace realm::cpu::avx512
