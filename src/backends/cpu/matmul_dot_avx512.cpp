// Few tokens on AVX-512 VNNI: weights are read once, straight from their packed blocks, and the
// product is bound by memory as long as a block takes fewer cycles than its bytes take to arrive
// (about 5 cycles for 18 bytes at 10 GB/s a core). Integer sums of 8 or 16 rows are reduced
// together, so that the float part has one lane a row, in the same order as the panel kernel.
#include "backends/cpu/dot_avx512.h"
#include "backends/cpu/matmul_avx2.h"
#include "backends/cpu/matmul_avx512.h"

namespace realm::cpu::avx512 {
namespace {

constexpr int kMaxTokens = 4;  // of one pass over the weights

// ---- Blocks of 32: two blocks of each of eight rows at a time -----------------------------------

struct Q8_0 {
  static constexpr int kBytes = 34, kOffset = 128;
  REALM_KERNEL_INLINE __m512i pair(const uint8_t* p) {
    return _mm512_xor_si512(halves(load_32(p + 2), load_32(p + 36)),
                            _mm512_set1_epi8(static_cast<char>(0x80)));
  }
  REALM_KERNEL_INLINE __m512i single(const uint8_t* p) {
    return _mm512_xor_si512(_mm512_zextsi256_si512(load_32(p + 2)),
                            _mm512_set1_epi8(static_cast<char>(0x80)));
  }
};

struct Q4_0 {
  static constexpr int kBytes = 18, kOffset = 8;
  REALM_KERNEL_INLINE __m512i
  spread(__m256i packed) {  // 128-bit lanes a, b -> nibbles of a, a, b, b
    const __m512i z = _mm512_castsi256_si512(packed);
    const __m512i twice = _mm512_shuffle_i64x2(z, z, 0x50);
    const __m512i shift = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0,
                                           0x0004000400040004, 0x0004000400040004, 0, 0);
    return _mm512_and_si512(_mm512_srlv_epi16(twice, shift), _mm512_set1_epi8(15));
  }
  REALM_KERNEL_INLINE __m128i packed(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 2));
  }
  REALM_KERNEL_INLINE __m512i pair(const uint8_t* p) {
    return spread(_mm256_inserti128_si256(_mm256_castsi128_si256(packed(p)), packed(p + 18), 1));
  }
  REALM_KERNEL_INLINE __m512i single(const uint8_t* p) {
    return spread(_mm256_zextsi128_si256(packed(p)));
  }
};

// Eight registers of 16 dwords; the low and high halves of each are two blocks of one row. Lane i
// (and 8 + i) of the result is the sum over row i's low (high) half.
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

// The halves at one offset of eight rows. Inserted one by one into a register: through memory, the
// wide load would wait for eight narrow stores.
REALM_KERNEL_INLINE __m128i gather_halves(const RowGroup<8>& rows, int64_t at) {
  __m128i h = _mm_cvtsi32_si128(half_bits(rows.row[0] + at));
  h = _mm_insert_epi16(h, half_bits(rows.row[1] + at), 1);
  h = _mm_insert_epi16(h, half_bits(rows.row[2] + at), 2);
  h = _mm_insert_epi16(h, half_bits(rows.row[3] + at), 3);
  h = _mm_insert_epi16(h, half_bits(rows.row[4] + at), 4);
  h = _mm_insert_epi16(h, half_bits(rows.row[5] + at), 5);
  h = _mm_insert_epi16(h, half_bits(rows.row[6] + at), 6);
  return _mm_insert_epi16(h, half_bits(rows.row[7] + at), 7);
}

REALM_KERNEL_INLINE __m512 two_scales(const float* p) {
  return _mm512_insertf32x8(_mm512_set1_ps(p[0]), _mm256_set1_ps(p[1]), 1);
}
REALM_KERNEL_INLINE __m512i two_ints(const int32_t* p) {
  return halves(_mm256_set1_epi32(p[0]), _mm256_set1_epi32(p[1]));
}

template <typename Format, int kTokens>
void dot_small(const WeightRows& weights, const QuantizedTokens& x, const int32_t* corrections,
               float* out, int64_t out_stride) {
  const int64_t chunks = weights.k / 32;
  for (int first = 0; first < weights.num_rows; first += 8) {
    const RowGroup<8> rows(weights, first);
    __m256 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm256_setzero_ps();
    for (int64_t c = 0; c < chunks; c += 2) {
      const bool both = c + 1 < chunks;
      const int64_t at = c * Format::kBytes;
      __m512i w[8];
      if (both) {
        prefetch_next<16 * Format::kBytes>(rows.row[0] + 8 * weights.row_bytes + 8 * at);
        for (int r = 0; r < 8; ++r) w[r] = Format::pair(rows.row[r] + at);
      } else {
        for (int r = 0; r < 8; ++r) w[r] = Format::single(rows.row[r] + at);
      }
      const __m128i d0 = gather_halves(rows, at);
      const __m128i d1 = both ? gather_halves(rows, at + Format::kBytes) : _mm_setzero_si128();
      const __m512 dw = _mm512_cvtph_ps(_mm256_setr_m128i(d0, d1));
      for (int t = 0; t < kTokens; ++t) {
        const int8_t* codes = x.codes + t * x.k + 32 * c;
        const float* dx = x.scales + t * chunks + c;
        const int32_t* correction = corrections + t * (chunks + 1) + c;
        const __m512i xt = both ? load_64(codes) : _mm512_zextsi256_si512(load_32(codes));
        __m512i p[8];
        for (int r = 0; r < 8; ++r) p[r] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w[r], xt);
        const __m512i isum = _mm512_sub_epi32(reduce_halves(p), two_ints(correction));
        const __m512 f = _mm512_cvtepi32_ps(isum);
        const __m512 s = _mm512_mul_ps(dw, both ? two_scales(dx) : _mm512_set1_ps(dx[0]));
        acc[t] = _mm256_fmadd_ps(_mm512_castps512_ps256(s), _mm512_castps512_ps256(f), acc[t]);
        if (both) {
          acc[t] =
              _mm256_fmadd_ps(_mm512_extractf32x8_ps(s, 1), _mm512_extractf32x8_ps(f, 1), acc[t]);
        }
      }
    }
    const __mmask8 mask = static_cast<__mmask8>((1u << rows.count) - 1);
    for (int t = 0; t < kTokens; ++t) {
      _mm256_mask_storeu_ps(out + t * out_stride + first, mask, acc[t]);
    }
  }
}

// ---- Blocks of 256: sixteen rows at a time -----------------------------------------------------

// Lane i of the result is the sum of the four dwords at p[(i % 4) * 4 + i / 4].
REALM_KERNEL_INLINE __m512i reduce_quads(const __m128i* p) {
  const __m512i a = load_64(p), b = load_64(p + 4), c = load_64(p + 8), d = load_64(p + 12);
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// Q4_K and Q5_K: 6-bit scales and minima of eight sub-blocks of 32.
template <bool kFifthBit>
struct KWithMin {
  static constexpr int kBytes = kFifthBit ? 176 : 144;
  static constexpr bool kMin = true;
  static constexpr int kCodes = kFifthBit ? 48 : 16;

  // Four registers of activations in the order of codes().
  REALM_KERNEL_INLINE void arrange(const int8_t* x, __m512i* out) {
    for (int i = 0; i < 2; ++i) {
      out[2 * i] = halves(load_32(x + 128 * i), load_32(x + 128 * i + 64));
      out[2 * i + 1] = halves(load_32(x + 128 * i + 32), load_32(x + 128 * i + 96));
    }
  }
  REALM_KERNEL_INLINE void codes(const uint8_t* p, __m512i* q) {
    const __m512i nibble = _mm512_set1_epi8(15);
    for (int i = 0; i < 2; ++i) {
      const __m512i packed = load_64(p + kCodes + 64 * i);
      q[2 * i] = _mm512_and_si512(packed, nibble);
      q[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
    }
    if constexpr (kFifthBit) {
      // Bit j of each byte of qh is the fifth bit of sub-block j.
      const __m512i high = _mm512_broadcast_i64x4(load_32(p + 16));
      const __m512i bit = _mm512_set1_epi8(16);
      const __m512i two = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
      const __m512i spread = _mm512_srlv_epi16(high, two);  // sub-blocks j | j + 2 at bit j
      q[0] = _mm512_or_si512(q[0], _mm512_and_si512(_mm512_slli_epi16(spread, 4), bit));
      q[1] = _mm512_or_si512(q[1], _mm512_and_si512(_mm512_slli_epi16(spread, 3), bit));
      q[2] = _mm512_or_si512(q[2], _mm512_and_si512(spread, bit));
      q[3] = _mm512_or_si512(q[3], _mm512_and_si512(_mm512_srli_epi16(spread, 1), bit));
    }
  }
  REALM_KERNEL_INLINE void scales(const uint8_t* p, __m512i* s, __m256i& mins) {
    uint32_t a, b, c;
    memcpy(&a, p + 4, 4), memcpy(&b, p + 8, 4), memcpy(&c, p + 12, 4);
    const uint64_t scale_hi = (c & 0x0f0f0f0fu) | ((a >> 2) & 0x30303030u);
    const uint64_t min_hi = ((c >> 4) & 0x0f0f0f0fu) | ((b >> 2) & 0x30303030u);
    const uint64_t scale_bytes = (a & 0x3f3f3f3fu) | (scale_hi << 32);
    const uint64_t min_bytes = (b & 0x3f3f3f3fu) | (min_hi << 32);
    const __m512i words = _mm512_castsi128_si512(
        _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(scale_bytes))));
    s[0] = _mm512_permutexvar_epi16(words_index(0, 0, 2, 2), words);
    s[1] = _mm512_permutexvar_epi16(words_index(1, 1, 3, 3), words);
    s[2] = _mm512_permutexvar_epi16(words_index(4, 4, 6, 6), words);
    s[3] = _mm512_permutexvar_epi16(words_index(5, 5, 7, 7), words);
    mins = _mm256_castsi128_si256(
        _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(min_bytes))));
  }
  // Sums of activations per sub-block of 32, as words.
  REALM_KERNEL_INLINE __m256i sums(const int16_t* sums16) {
    const __m256i all = load_32(sums16);
    const __m256i pairs = _mm256_madd_epi16(all, _mm256_set1_epi16(1));
    return _mm256_castsi128_si256(_mm256_cvtepi32_epi16(pairs));
  }
  REALM_KERNEL_INLINE __m128i min_products(__m256i mins, __m256i sums_words) {
    return _mm_madd_epi16(_mm256_castsi256_si128(mins), _mm256_castsi256_si128(sums_words));
  }
  REALM_KERNEL_INLINE uint32_t factors(const uint8_t* p) {  // d, dmin
    uint32_t both;
    memcpy(&both, p, 4);
    return both;
  }
};

// Q6_K: signed scales of sixteen sub-blocks of 16; codes are stored with +32, which is taken back
// through the sums of the activations.
struct Q6_K {
  static constexpr int kBytes = 210;
  static constexpr bool kMin = false;

  REALM_KERNEL_INLINE void arrange(const int8_t* x, __m512i* out) {
    for (int i = 0; i < 4; ++i) out[i] = load_64(x + 64 * i);
  }
  REALM_KERNEL_INLINE void codes(const uint8_t* p, __m512i* q) {
    const __m512i nibble = _mm512_set1_epi8(15), upper = _mm512_set1_epi8(0x30);
    const __m512i shift_low = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
    const __m512i shift_high = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    for (int i = 0; i < 2; ++i) {
      const __m512i low = load_64(p + 64 * i);
      const __m512i high = _mm512_broadcast_i64x4(load_32(p + 128 + 32 * i));
      q[2 * i] = _mm512_or_si512(_mm512_and_si512(low, nibble),
                                 _mm512_and_si512(_mm512_sllv_epi16(high, shift_low), upper));
      q[2 * i + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(low, 4), nibble),
                                     _mm512_and_si512(_mm512_srlv_epi16(high, shift_high), upper));
    }
  }
  REALM_KERNEL_INLINE void scales(const uint8_t* p, __m512i* s, __m256i& mins) {
    mins = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 192)));
    const __m512i words = _mm512_castsi256_si512(mins);
    for (int i = 0; i < 4; ++i) {
      s[i] = _mm512_permutexvar_epi16(words_index(4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3), words);
    }
  }
  REALM_KERNEL_INLINE __m256i sums(const int16_t* sums16) { return load_32(sums16); }
  REALM_KERNEL_INLINE __m128i min_products(__m256i scales_words, __m256i sums_words) {
    const __m256i products = _mm256_madd_epi16(scales_words, sums_words);
    return _mm_add_epi32(_mm256_castsi256_si128(products), _mm256_extracti128_si256(products, 1));
  }
  REALM_KERNEL_INLINE uint32_t factors(const uint8_t* p) { return half_bits(p + 208); }
};

template <typename Format, int kTokens>
void dot_super(const WeightRows& weights, const QuantizedTokens& x, float* out,
               int64_t out_stride) {
  const int64_t blocks = weights.k / 256;
  for (int first = 0; first < weights.num_rows; first += 16) {
    const RowGroup<16> rows(weights, first);
    __m512 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
    for (int64_t b = 0; b < blocks; ++b) {
      __m512i xs[kTokens][4], partial[kTokens][16];
      __m256i sums[kTokens];
      alignas(64) __m128i minima[kTokens][16];
      alignas(64) uint32_t factors[16];
      for (int t = 0; t < kTokens; ++t) {
        Format::arrange(x.codes + t * x.k + 256 * b, xs[t]);
        sums[t] = Format::sums(x.sums + t * (x.k / 16) + 16 * b);
      }
      for (int r = 0; r < 16; ++r) {
        const uint8_t* p = rows.row[r] + b * Format::kBytes;
        prefetch_next<Format::kBytes>(rows.row[0] + 16 * weights.row_bytes +
                                      (16 * b + r) * Format::kBytes);
        __m512i q[4], s[4];
        __m256i mins;
        Format::codes(p, q);
        Format::scales(p, s, mins);
        factors[r] = Format::factors(p);
        for (int t = 0; t < kTokens; ++t) {
          __m512i sum = _mm512_setzero_si512();
          for (int i = 0; i < 4; ++i) {
            sum = _mm512_dpwssd_epi32(sum, _mm512_maddubs_epi16(q[i], xs[t][i]), s[i]);
          }
          partial[t][r] = sum;
          minima[t][(r % 4) * 4 + r / 4] = Format::min_products(mins, sums[t]);
        }
      }
      const __m512i both = load_64(factors);
      const __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(both));
      for (int t = 0; t < kTokens; ++t) {
        const __m512 dx = _mm512_set1_ps(x.scales[t * blocks + b]);
        __m512i isum = reduce_16(partial[t]);
        const __m512i msum = reduce_quads(minima[t]);
        if constexpr (Format::kMin) {
          const __m512 dmin = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16)));
          acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(isum), acc[t]);
          acc[t] = _mm512_fnmadd_ps(_mm512_mul_ps(dmin, dx), _mm512_cvtepi32_ps(msum), acc[t]);
        } else {
          isum = _mm512_sub_epi32(isum, _mm512_slli_epi32(msum, 5));
          acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(isum), acc[t]);
        }
      }
    }
    const __mmask16 mask = static_cast<__mmask16>((1u << rows.count) - 1);
    for (int t = 0; t < kTokens; ++t) {
      _mm512_mask_storeu_ps(out + t * out_stride + first, mask, acc[t]);
    }
  }
}

// ---- Passes over the tokens -------------------------------------------------------------------

template <typename Format>
void pass_small(const WeightRows& weights, const QuantizedTokens& x, int64_t count, float* out,
                int64_t out_stride, uint8_t* scratch) {
  // offset * sum of activations, per token and block; one more so that pairs can be read whole.
  int32_t* corrections = reinterpret_cast<int32_t*>(scratch);
  const int64_t chunks = weights.k / 32;
  for (int64_t t = 0; t < count; ++t) {
    const int16_t* sums = x.sums + t * (x.k / 16);
    for (int64_t c = 0; c < chunks; ++c) {
      corrections[t * (chunks + 1) + c] = Format::kOffset * (sums[2 * c] + sums[2 * c + 1]);
    }
    corrections[t * (chunks + 1) + chunks] = 0;
  }
  switch (count) {
    case 1:
      return dot_small<Format, 1>(weights, x, corrections, out, out_stride);
    case 2:
      return dot_small<Format, 2>(weights, x, corrections, out, out_stride);
    case 3:
      return dot_small<Format, 3>(weights, x, corrections, out, out_stride);
    default:
      return dot_small<Format, 4>(weights, x, corrections, out, out_stride);
  }
}

template <typename Format>
void pass_super(const WeightRows& weights, const QuantizedTokens& x, int64_t count, float* out,
                int64_t out_stride, uint8_t*) {
  switch (count) {
    case 1:
      return dot_super<Format, 1>(weights, x, out, out_stride);
    case 2:
      return dot_super<Format, 2>(weights, x, out, out_stride);
    case 3:
      return dot_super<Format, 3>(weights, x, out, out_stride);
    default:
      return dot_super<Format, 4>(weights, x, out, out_stride);
  }
}

using Pass = void (*)(const WeightRows& weights, const QuantizedTokens& x, int64_t count,
                      float* out, int64_t out_stride, uint8_t* scratch);

Pass direct_pass(DType type) {
  switch (type) {
    case DType::kQ8_0:
      return pass_small<Q8_0>;
    case DType::kQ4_0:
      return pass_small<Q4_0>;
    case DType::kQ4_K:
      return pass_super<KWithMin<false>>;
    case DType::kQ5_K:
      return pass_super<KWithMin<true>>;
    case DType::kQ6_K:
      return pass_super<Q6_K>;
    default:
      return nullptr;
  }
}

// Longest k for which the corrections of a pass fit the scratch.
constexpr int64_t kMaxK = int64_t{1} << 20;

}  // namespace

bool has_direct_dot(DType type) {
  return has_codebook(type) || direct_pass(type) != nullptr;
}

int64_t dot_scratch_bytes() {
  return kMaxTokens * (kMaxK / 32 + 1) * 4;
}

void dot(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
         int64_t out_stride, uint8_t* scratch) {
  if (has_codebook(weights.format->type)) {
    return dot_codebook(weights, x, num_tokens, out, out_stride);
  }
  const Pass pass = direct_pass(weights.format->type);
  if (pass == nullptr || weights.k > kMaxK) {
    // What 512-bit registers have no direct kernel for, those of half the width do.
    return avx2::dot(weights, x, num_tokens, out, out_stride, scratch);
  }
  for (int64_t t = 0; t < num_tokens; t += kMaxTokens) {
    const int64_t count = num_tokens - t < kMaxTokens ? num_tokens - t : kMaxTokens;
    pass(weights, from_token(x, t), count, out + t * out_stride, out_stride, scratch);
  }
}

}  // namespace realm::cpu::avx512

namespace realm::cpu {

const MatMulKernels* avx512_matmul_kernels() {
  static const MatMulKernels kernels = {
      .dot = avx512::dot,
      .panel = avx512::panel,
      .scratch_bytes =
          [](int64_t num_tokens) {
            const int64_t a = avx512::panel_scratch_bytes(num_tokens);
            const int64_t b = avx512::dot_scratch_bytes();
            return a > b ? a : b;
          },
      // Measured on Emerald Rapids, rows of 2048 in the cache: where one more pass over the packed
      // blocks costs more than unpacking them once.
      .panel_from =
          [](DType type) {
            if (avx512::has_codebook(type)) return int64_t{9};
            if (avx512::direct_pass(type) == nullptr) return int64_t{4};
            return find_block_format(type)->block_elements == 256 ? int64_t{11} : int64_t{5};
          },
      .token_layout = [](DType) { return avx512::biased_tokens(); },
      .float_panel = avx512::float_panel(),
  };
  return &kernels;
}

}  // namespace realm::cpu
