// Few tokens with stretches of 256 (stretch_amx.h): a block of each of sixteen rows at a time,
// straight from memory, as in matmul_dot_small_avx512.cpp.
#define REALM_ISA amx
#include "backends/cpu/matmul_amx.h"
#include "backends/cpu/stretch_amx.h"

namespace realm::cpu::amx {
namespace {

constexpr int kMaxTokens = 8;  // of one pass over the weights

// A stretch's scales of sixteen rows, eight words each: turned and made integers, register j block
// j's, lane i row i's. Returns the rows' factors.
template <typename S>
REALM_KERNEL_INLINE __m512 turn_scales(const __m128i* words, __m512i* scales) {
  __m512i four[4];  // lanes of 128 bits: rows j, j + 4, j + 8, j + 12
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    four[j] = _mm512_castsi128_si512(_mm_load_si128(words + j));
    four[j] = _mm512_inserti32x4(four[j], _mm_load_si128(words + j + 4), 1);
    four[j] = _mm512_inserti32x4(four[j], _mm_load_si128(words + j + 8), 2);
    four[j] = _mm512_inserti32x4(four[j], _mm_load_si128(words + j + 12), 3);
  }
  const __m512i low01 = _mm512_unpacklo_epi16(four[0], four[1]);
  const __m512i high01 = _mm512_unpackhi_epi16(four[0], four[1]);
  const __m512i low23 = _mm512_unpacklo_epi16(four[2], four[3]);
  const __m512i high23 = _mm512_unpackhi_epi16(four[2], four[3]);
  const __m512i pairs[4] = {
      _mm512_unpacklo_epi32(low01, low23), _mm512_unpackhi_epi32(low01, low23),
      _mm512_unpacklo_epi32(high01, high23), _mm512_unpackhi_epi32(high01, high23)};
  const __m512i blocks = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  __m512 d[8], largest = _mm512_setzero_ps();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i two = _mm512_permutexvar_epi64(blocks, pairs[j]);
    d[2 * j] = S::factors(_mm512_castsi512_si256(two));
    d[2 * j + 1] = S::factors(_mm512_extracti64x4_epi64(two, 1));
    largest = larger_size(largest, d[2 * j]);
    largest = larger_size(largest, d[2 * j + 1]);
  }
  const __m512 inverse = inverse_of<S>(largest);
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) scales[j] = integer_scales(d[j], inverse);
  return factor_of<S>(largest);
}

// The next stretch's scales, taken a block at a time while this one's are multiplied: of two rows
// by loads, or, where a row's scales lie too far apart for few of them, of one block by a gather.
template <typename S>
class NextScales {
 public:
  __attribute__((always_inline)) explicit NextScales(const avx512::Rows& rows) : rows_(rows) {
    alignas(64) int32_t distances[16];
    for (int r = 0; r < 16; ++r) distances[r] = static_cast<int32_t>(rows.row[r] - rows.row[0]);
    distances_ = _mm512_load_si512(distances);
    largest_ = _mm512_setzero_ps();
    for (int j = 0; j < 8; ++j) take(0, j);
  }
  // Those that were taken become this stretch's. Returns the rows' factors.
  __attribute__((always_inline)) __m512 advance() {
    if constexpr (S::kGathers) {
      const __m512 factor = factor_of<S>(largest_);
      inverse_ = inverse_of<S>(largest_);
      largest_ = _mm512_setzero_ps();
      return factor;
    } else {
      return turn_scales<S>(words_, scales_);
    }
  }
  // This stretch's block j: before the next one's is taken.
  __attribute__((always_inline)) __m512i of_block(int j) const {
    return S::kGathers ? integer_scales(d_[j], inverse_) : scales_[j];
  }
  // The j-th part of the stretch at byte `at` of the rows.
  __attribute__((always_inline)) void take(int64_t at, int j) {
    if constexpr (S::kGathers) {
      const uint8_t* block = rows_.row[0] + at + j * S::kBlockBytes;
      d_[j] = S::Format::factors(_mm512_i32gather_epi32(distances_, block, 1));
      largest_ = larger_size(largest_, d_[j]);
    } else {
      words_[2 * j] = S::scales(rows_.row[2 * j] + at);
      words_[2 * j + 1] = S::scales(rows_.row[2 * j + 1] + at);
    }
  }

 private:
  const avx512::Rows& rows_;
  alignas(64) __m512i scales_[8];
  alignas(64) __m512 d_[8];
  alignas(64) __m128i words_[16];
  __m512i distances_;
  __m512 largest_, inverse_;
};

template <typename S, int kTokens>
void dot_stretches(const WeightRows& weights, const QuantizedTokens& x, float* out,
                   int64_t out_stride) {
  using Format = typename S::Format;
  const int64_t stretches = weights.k / 256;
  for (int first = 0; first < weights.num_rows; first += 16) {
    const avx512::Rows rows(weights, first);
    __m512 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
    NextScales<S> scales(rows);
    for (int64_t b = 0; b < stretches; ++b) {
      const __m512 factor = scales.advance();
      const int64_t next = (b + 1 < stretches ? b + 1 : b) * S::kBytes;
      alignas(32) int32_t offsets[kTokens][8];  // what takes the codes' offset from the sums
      __m512i sums[kTokens];
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        sums[t] = _mm512_setzero_si512();
        const __m256i of_x = avx512::load_32(x.sums + t * (x.k / 16) + 16 * b);
        _mm256_store_si256(reinterpret_cast<__m256i*>(offsets[t]),
                           _mm256_madd_epi16(of_x, _mm256_set1_epi16(-Format::kOffset)));
      }
      // Not unrolled: the compiler would gather all requests to memory at the beginning.
#pragma GCC unroll 1
      for (int j = 0; j < 8; ++j) {
        const int64_t block = 8 * b + j;
        avx512::prefetch_next<16 * S::kBlockBytes>(rows.next + 16 * block * S::kBlockBytes);
        const __m512i scale = scales.of_block(j);
        scales.take(next, j);
        const avx512::BlockSums<Format, kTokens> of_block(rows, block * S::kBlockBytes);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
          const __m512i sum = of_block.add(offsets[t][j], x.codes + t * x.k + 32 * block);
          sums[t] = _mm512_add_epi32(sums[t], _mm512_mullo_epi32(sum, scale));
        }
      }
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        const __m512 dx = _mm512_set1_ps(x.scales[t * stretches + b]);
        acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(factor, dx), _mm512_cvtepi32_ps(sums[t]), acc[t]);
      }
    }
    const auto mask = static_cast<__mmask16>((1u << rows.count) - 1);
    for (int t = 0; t < kTokens; ++t) {
      _mm512_mask_storeu_ps(out + t * out_stride + first, mask, acc[t]);
    }
  }
}

using Pass = void (*)(const WeightRows& weights, const QuantizedTokens& x, float* out,
                      int64_t out_stride);

template <typename S>
struct Passes {
  static void run(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                  float* out, int64_t out_stride) {
    static constexpr Pass kPasses[kMaxTokens] = {
        dot_stretches<S, 1>, dot_stretches<S, 2>, dot_stretches<S, 3>, dot_stretches<S, 4>,
        dot_stretches<S, 5>, dot_stretches<S, 6>, dot_stretches<S, 7>, dot_stretches<S, 8>};
    for (int64_t t = 0; t < num_tokens; t += kMaxTokens) {
      const int64_t count = num_tokens - t < kMaxTokens ? num_tokens - t : kMaxTokens;
      kPasses[count - 1](weights, avx512::from_token(x, t), out + t * out_stride, out_stride);
    }
  }
};

}  // namespace

void dot_by_stretches(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                      float* out, int64_t out_stride) {
  using Function = decltype(&dot_by_stretches);
  stretch_kernel_for<Function, Passes>(weights.format->type)(weights, x, num_tokens, out,
                                                             out_stride);
}

}  // namespace realm::cpu::amx
