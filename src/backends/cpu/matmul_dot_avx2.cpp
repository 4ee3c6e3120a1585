// Products of few tokens on AVX2, straight from packed blocks. Eight weight rows at a time: integer
// sums run along a row (lanes are elements), a tree of horizontal adds then turns eight rows'
// partial sums into one vector whose lanes are rows, and the float arithmetic goes on from there.
// Weights are read once per two tokens; with one token the limit is memory, so the order of reading
// matters: blocks of 256 are read a stretch of a row at a time, in order of address, and their
// partial sums wait for those of the other rows (twice the bandwidth of eight rows side by side).
// Small blocks, whose partial sums would be as many bytes as they are, are read side by side, with
// what follows prefetched in order of address.
#define REALM_ISA avx2
#include "backends/cpu/format_kernels.h"
#include "backends/cpu/matmul_avx2.h"

namespace realm::cpu::avx2 {
namespace {

// Lane r is the sum of the lanes of p[r].
REALM_INLINE __m256i reduce_8(const __m256i* p) {
  const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(p[0], p[1]), _mm256_hadd_epi32(p[2], p[3]));
  const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(p[4], p[5]), _mm256_hadd_epi32(p[6], p[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                          _mm256_permute2x128_si256(a, b, 0x31));
}

// Sums of two neighbouring products code * x, 16 bits each. Signed codes: |x| <= 127 makes
// 2 * 128 * 127 the largest, so that nothing saturates.
template <typename F>
REALM_INLINE __m256i pair_products(Codes codes, __m256i magnitude, __m256i x) {
  if constexpr (F::kSigned) {
    return _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, codes.v));
  } else {
    static_assert(2 * F::kMax * 128 <= 32767);
    return _mm256_maddubs_epi16(codes.v, x);
  }
}
template <typename F>
REALM_INLINE __m256i magnitude_of(Codes codes) {
  return F::kSigned ? _mm256_abs_epi8(codes.v) : codes.v;
}

REALM_INLINE __m256i load_x(const int8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// The eight rows of a step; past the last one it repeats, its results are dropped.
struct RowPointers {
  const uint8_t* row[8];
};
REALM_INLINE RowPointers row_pointers(const WeightRows& weights, int first) {
  RowPointers rows;
  for (int r = 0; r < 8; ++r) {
    const int row = first + r < weights.num_rows ? first + r : weights.num_rows - 1;
    rows.row[r] = weights.data + row * weights.row_bytes;
  }
  return rows;
}
REALM_INLINE void store_rows(float* out, __m256 sums, int num_rows) {
  if (num_rows >= 8) return _mm256_storeu_ps(out, sums);
  float buffer[8];
  _mm256_storeu_ps(buffer, sums);
  memcpy(out, buffer, static_cast<size_t>(num_rows) * sizeof(float));
}

// ---- small formats ----

// Asks for what comes after the eight rows in memory, in order of address, as many bytes a step as
// the step reads: [begin, end) of each row.
REALM_INLINE void prefetch_next(const RowPointers& rows, int64_t row_bytes, int64_t begin,
                                int64_t end) {
  const char* next = reinterpret_cast<const char*>(rows.row[0] + 8 * row_bytes);
  for (int64_t at = 8 * begin; at < 8 * end; at += 64) _mm_prefetch(next + at, _MM_HINT_T0);
}

constexpr int kScaleGroups = 8;  // groups of 32 elements whose scales are gathered together

// Scales of eight rows, lanes being rows. Gathered through memory by the integer units, which have
// nothing else to do: inserting into vectors would cost the units that do the products.
template <typename F>
struct SmallScales {
  static constexpr int kPerGroup = 32 / F::kSub;
  alignas(32) uint16_t half_scale[kScaleGroups][8];
  alignas(32) uint16_t half_min[kScaleGroups][8];
  alignas(32) float scale[kScaleGroups][kPerGroup][8];
  alignas(32) float min[kScaleGroups][8];

  REALM_INLINE __m256 halves(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
  __m256 scale_of(int group, int half) const {
    if constexpr (F::kHalfScale >= 0) return halves(half_scale[group]);
    return _mm256_load_ps(scale[group][half]);
  }
  __m256 min_of(int group) const {
    if constexpr (F::kHasMin && F::kHalfScale >= 0) return halves(half_min[group]);
    return _mm256_load_ps(min[group]);
  }
  REALM_INLINE void gather(SmallScales& to, const uint8_t* block, int v, int group, int r) {
    if constexpr (F::kHalfScale >= 0) {
      memcpy(&to.half_scale[group][r], block + F::kHalfScale, 2);
      if constexpr (F::kHasMin) memcpy(&to.half_min[group][r], block + F::kHalfMin, 2);
    } else {
      for (int half = 0; half < kPerGroup; ++half) {
        to.scale[group][half][r] = F::scale(block, v * kPerGroup + half);
      }
      if constexpr (F::kHasMin) to.min[group][r] = F::min(block);
    }
  }
};

// Continues the sums of one group from its integer sums.
template <typename F>
REALM_INLINE __m256 add_group(__m256 acc, __m256i dot, const SmallScales<F>& scales, int group,
                              float dx, const int16_t* x_sums) {
  const int sum = x_sums[0] + x_sums[1];
  if constexpr (F::kBias != 0) dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(F::kBias * sum));
  acc = _mm256_fmadd_ps(_mm256_mul_ps(scales.scale_of(group, 0), _mm256_set1_ps(dx)),
                        _mm256_cvtepi32_ps(dot), acc);
  if constexpr (F::kHasMin) {
    acc = _mm256_fmadd_ps(scales.min_of(group), _mm256_set1_ps(dx * static_cast<float>(sum)), acc);
  }
  return acc;
}

// Of vectors with one group's partial sums in the lower lanes and another's in the upper ones, for
// eight rows, the sums of either group. Codes of 4 bits leave room to do it in 16-bit lanes, which
// is cheaper than horizontal additions.
template <bool kFourBits>
REALM_INLINE void reduce_8_pairs(const __m256i* p, __m256i& first, __m256i& second) {
  __m256i quarters[4], halves[2];
  for (int i = 0; i < 4; ++i) {
    quarters[i] = kFourBits ? _mm256_madd_epi16(_mm256_packs_epi32(p[2 * i], p[2 * i + 1]),
                                                _mm256_set1_epi16(1))
                            : _mm256_hadd_epi32(p[2 * i], p[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    halves[i] = kFourBits
                    ? _mm256_madd_epi16(_mm256_packs_epi32(quarters[2 * i], quarters[2 * i + 1]),
                                        _mm256_set1_epi16(1))
                    : _mm256_hadd_epi32(quarters[2 * i], quarters[2 * i + 1]);
  }
  first = _mm256_permute2x128_si256(halves[0], halves[1], 0x20);
  second = _mm256_permute2x128_si256(halves[0], halves[1], 0x31);
}

// Formats whose bytes hold codes of both halves of a block: two blocks of a row at a time, one in
// the lower lanes and one in the upper.
template <typename F, int kTokens>
void dot_pairs_tokens(const WeightRows& weights, const int8_t* codes, const float* x_scales,
                      const int16_t* x_sums, float* out, int64_t out_stride) {
  const int64_t k = weights.k, num_groups = k / 32;
  const __m256i ones = _mm256_set1_epi16(1);
  for (int first = 0; first < weights.num_rows; first += 8) {
    const RowPointers rows = row_pointers(weights, first);
    __m256 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm256_setzero_ps();
    SmallScales<F> scales;
    for (int64_t g0 = 0; g0 < num_groups; g0 += kScaleGroups) {
      const int groups = static_cast<int>(num_groups - g0 < kScaleGroups ? num_groups - g0
                                                                         : int64_t{kScaleGroups});
      prefetch_next(rows, weights.row_bytes, g0 * F::kBytes, (g0 + groups) * F::kBytes);
      for (int r = 0; r < 8; ++r) {
        for (int g = 0; g < groups; ++g) {
          SmallScales<F>::gather(scales, rows.row[r] + (g0 + g) * F::kBytes, 0, g, r);
        }
      }
      for (int g = 0; g < groups; g += 2) {
        const bool two = g + 1 < groups;  // else the second block is the first again, against zeros
        __m256i x_first[kTokens], x_second[kTokens];
        for (int t = 0; t < kTokens; ++t) {
          const int8_t* x = codes + t * k + 32 * (g0 + g);
          const __m256i a = load_x(x), b = two ? load_x(x + 32) : _mm256_setzero_si256();
          x_first[t] = _mm256_permute2x128_si256(a, b, 0x20);
          x_second[t] = _mm256_permute2x128_si256(a, b, 0x31);
        }
        const int64_t at = (g0 + g) * F::kBytes, next = two ? F::kBytes : 0;
        __m256i partial[kTokens][8];
#pragma GCC unroll 8
        for (int r = 0; r < 8; ++r) {
          const uint8_t* b = rows.row[r] + at;
          const TwoHalves c = F::codes_of_two(b, b + next);
          const __m256i first_size = magnitude_of<F>(c.first);
          const __m256i second_size = magnitude_of<F>(c.second);
          for (int t = 0; t < kTokens; ++t) {
            const __m256i p = pair_products<F>(c.first, first_size, x_first[t]);
            const __m256i q = pair_products<F>(c.second, second_size, x_second[t]);
            if constexpr (4 * F::kMax * 128 <= 32767) {
              partial[t][r] = _mm256_madd_epi16(_mm256_add_epi16(p, q), ones);
            } else {
              partial[t][r] =
                  _mm256_add_epi32(_mm256_madd_epi16(p, ones), _mm256_madd_epi16(q, ones));
            }
          }
        }
        for (int t = 0; t < kTokens; ++t) {
          __m256i dots[2];
          reduce_8_pairs<16 * F::kMax * 128 <= 32767>(partial[t], dots[0], dots[1]);
          const float* dx = x_scales + t * num_groups + g0 + g;
          const int16_t* sums = x_sums + t * (k / 16) + 2 * (g0 + g);
          acc[t] = add_group<F>(acc[t], dots[0], scales, g, dx[0], sums);
          if (two) acc[t] = add_group<F>(acc[t], dots[1], scales, g + 1, dx[1], sums + 2);
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      store_rows(out + t * out_stride + first, acc[t], weights.num_rows - first);
    }
  }
}

template <typename F, int kTokens>
void dot_small_tokens(const WeightRows& weights, const int8_t* codes, const float* x_scales,
                      const int16_t* x_sums, float* out, int64_t out_stride) {
  using Buffer = typename BufferOf<F>::Type;
  constexpr int kGroups = F::kElements / 32, kHalves = 32 / F::kSub;
  constexpr bool kUnpacks = sizeof(Buffer) > sizeof(NoBuffer);
  const int64_t k = weights.k, block_bytes = weights.format->block_bytes;
  const int block_groups = kUnpacks ? weights.format->block_elements / 32 : kGroups;
  const __m256i ones = _mm256_set1_epi16(1);
  for (int first = 0; first < weights.num_rows; first += 8) {
    const RowPointers rows = row_pointers(weights, first);
    __m256 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm256_setzero_ps();
    SmallScales<F> scales;
    for (int64_t g0 = 0; g0 < k / 32; g0 += kScaleGroups) {
      const int groups =
          static_cast<int>(k / 32 - g0 < kScaleGroups ? k / 32 - g0 : int64_t{kScaleGroups});
      prefetch_next(rows, weights.row_bytes, g0 / block_groups * block_bytes,
                    (g0 + groups) / block_groups * block_bytes);
      if constexpr (!kUnpacks) {
        for (int r = 0; r < 8; ++r) {
          for (int g = 0; g < groups; ++g) {
            SmallScales<F>::gather(scales, rows.row[r] + (g0 + g) / kGroups * F::kBytes,
                                   static_cast<int>((g0 + g) % kGroups), g, r);
          }
        }
      }
      for (int g = 0; g < groups; ++g) {
        const int64_t block = (g0 + g) / block_groups;
        const int v = static_cast<int>((g0 + g) % block_groups);
        __m256i x[kTokens];
        for (int t = 0; t < kTokens; ++t) x[t] = load_x(codes + t * k + 32 * (g0 + g));
        __m256i partial[kTokens][8];
#pragma GCC unroll 8
        for (int r = 0; r < 8; ++r) {
          Buffer buffer;
          const uint8_t* b =
              block_at<F>(*weights.format, rows.row[r] + block * block_bytes, v, buffer);
          if constexpr (kUnpacks) SmallScales<F>::gather(scales, b, 0, g, r);
          const Codes c = F::codes(b, v);
          const __m256i magnitude = magnitude_of<F>(c);
          for (int t = 0; t < kTokens; ++t) {
            partial[t][r] = _mm256_madd_epi16(pair_products<F>(c, magnitude, x[t]), ones);
          }
        }
        for (int t = 0; t < kTokens; ++t) {
          const float dx = x_scales[t * (k / 32) + g0 + g];
          const int16_t* sums = x_sums + t * (k / 16) + 2 * (g0 + g);
          if constexpr (kHalves == 1) {
            acc[t] = add_group<F>(acc[t], reduce_8(partial[t]), scales, g, dx, sums);
          } else {
            // The lower lanes of a partial sum belong to the first 16 elements.
            __m256i halves[2];
            for (int r = 0; r < 4; ++r) {
              partial[t][r] = _mm256_hadd_epi32(partial[t][2 * r], partial[t][2 * r + 1]);
            }
            halves[0] = _mm256_hadd_epi32(partial[t][0], partial[t][1]);
            halves[1] = _mm256_hadd_epi32(partial[t][2], partial[t][3]);
            const __m256i dots[2] = {_mm256_permute2x128_si256(halves[0], halves[1], 0x20),
                                     _mm256_permute2x128_si256(halves[0], halves[1], 0x31)};
            for (int half = 0; half < 2; ++half) {
              const __m256i dot =
                  _mm256_sub_epi32(dots[half], _mm256_set1_epi32(F::kBias * sums[half]));
              acc[t] = _mm256_fmadd_ps(_mm256_mul_ps(scales.scale_of(g, half), _mm256_set1_ps(dx)),
                                       _mm256_cvtepi32_ps(dot), acc[t]);
              static_assert(!F::kHasMin);
            }
          }
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      store_rows(out + t * out_stride + first, acc[t], weights.num_rows - first);
    }
  }
}

// ---- super formats ----

// Lane pairs (2 v, 2 v + 1 as bytes) in every 16-bit lane: spreads the v-th scale of each half.
alignas(32) constexpr uint8_t kSpread[8][32] = {
#define REALM_SPREAD(v)                                                                           \
  {                                                                                               \
    2 * v, 2 * v + 1, 2 * v, 2 * v + 1, 2 * v, 2 * v + 1, 2 * v, 2 * v + 1, 2 * v, 2 * v + 1,     \
        2 * v, 2 * v + 1, 2 * v, 2 * v + 1, 2 * v, 2 * v + 1, 2 * v, 2 * v + 1, 2 * v, 2 * v + 1, \
        2 * v, 2 * v + 1, 2 * v, 2 * v + 1, 2 * v, 2 * v + 1, 2 * v, 2 * v + 1, 2 * v, 2 * v + 1, \
        2 * v, 2 * v + 1                                                                          \
  }
    REALM_SPREAD(0), REALM_SPREAD(1), REALM_SPREAD(2), REALM_SPREAD(3),
    REALM_SPREAD(4), REALM_SPREAD(5), REALM_SPREAD(6), REALM_SPREAD(7)};
#undef REALM_SPREAD

// Sixteen bits per scale: lower lanes those of the first 16 elements of each 32, upper lanes those
// of the second.
template <int kSub>
REALM_INLINE __m256i split_scales(ScaleBytes s) {
  const int64_t lo = static_cast<int64_t>(s.lo), hi = static_cast<int64_t>(s.hi);
  if constexpr (kSub == 32) return _mm256_cvtepi8_epi16(_mm_set1_epi64x(lo));
  const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(_mm_set_epi64x(hi, lo), order));
}
// The same arrangement of the sums of 16 elements.
REALM_INLINE __m256i split_sums(const int16_t* sums) {
  const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,  //
                                         0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  const __m256i s = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums));
  return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(s, order), 0xd8);
}

constexpr int log2_of(int n) {
  int log = 0;
  while ((1 << log) < n) ++log;
  return log;
}

// Where the reading will be two stretches on: [begin, end) of row r is what is read now.
REALM_INLINE const char* two_ahead(const RowPointers& rows, int64_t row_bytes, int r, int64_t begin,
                                   int64_t end) {
  const uint8_t* p = r < 6             ? rows.row[r + 2] + begin
                     : end < row_bytes ? rows.row[r - 6] + end
                                       : rows.row[r - 6] + 8 * row_bytes;
  return reinterpret_cast<const char*>(p);
}
// Past the end of a mapping this is harmless.
template <int kBytes>
REALM_INLINE void prefetch(const char* p) {
#pragma GCC unroll 8
  for (int at = 0; at < kBytes; at += 64) _mm_prefetch(p + at, _MM_HINT_T0);
}

constexpr int kStretchBlocks = 8;  // of 256 elements

// What is kept of a stretch of eight rows.
template <typename F, int kTokens>
struct SuperStretch {
  __m256i sums[kStretchBlocks][kTokens];  // of activations, as split_sums has them
  __m256i partial[kStretchBlocks][kTokens][8];
  __m256i minima[F::kHasMin ? kStretchBlocks : 1][kTokens][8];
  alignas(32) float d[kStretchBlocks][8];
  alignas(32) float dmin[kStretchBlocks][8];

  // One block of row r against x (of the first token) at the block's first element.
  REALM_INLINE void multiply_block(SuperStretch& s, const uint8_t* b, const int8_t* x, int64_t k,
                                   int i, int r) {
    const __m256i scales = split_scales<F::kSub>(F::scales(b));
    __m256i total[kTokens];
#pragma GCC unroll 8
    for (int v = 0; v < 8; ++v) {
      const Codes c = F::codes(b, v);
      const __m256i magnitude = magnitude_of<F>(c);
      const __m256i spread = _mm256_load_si256(reinterpret_cast<const __m256i*>(kSpread[v]));
      const __m256i scale = _mm256_shuffle_epi8(scales, spread);
#pragma GCC unroll 2
      for (int t = 0; t < kTokens; ++t) {
        const __m256i products = pair_products<F>(c, magnitude, load_x(x + t * k + 32 * v));
        const __m256i weighted = _mm256_madd_epi16(products, scale);
        total[t] = v == 0 ? weighted : _mm256_add_epi32(total[t], weighted);
      }
    }
    s.d[i][r] = F::d(b);
#pragma GCC unroll 2
    for (int t = 0; t < kTokens; ++t) {
      if constexpr (F::kBias != 0) {
        static_assert((F::kBias & (F::kBias - 1)) == 0);
        const __m256i bias = _mm256_madd_epi16(scales, s.sums[i][t]);
        total[t] = _mm256_sub_epi32(total[t], _mm256_slli_epi32(bias, log2_of(F::kBias)));
      }
      s.partial[i][t][r] = total[t];
    }
    if constexpr (F::kHasMin) {
      s.dmin[i][r] = F::dmin(b);
      const __m256i mins = split_scales<F::kSub>(F::mins(b));
#pragma GCC unroll 2
      for (int t = 0; t < kTokens; ++t) {
        s.minima[i][t][r] = _mm256_madd_epi16(mins, s.sums[i][t]);
      }
    }
  }

  // Continues the sums of eight rows with block i.
  REALM_INLINE __m256 add_block(const SuperStretch& s, __m256 acc, float x_scale, int i, int t) {
    const __m256 dx = _mm256_set1_ps(x_scale);
    acc = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(s.d[i]), dx),
                          _mm256_cvtepi32_ps(reduce_8(s.partial[i][t])), acc);
    if constexpr (F::kHasMin) {
      acc = _mm256_fnmadd_ps(_mm256_mul_ps(_mm256_load_ps(s.dmin[i]), dx),
                             _mm256_cvtepi32_ps(reduce_8(s.minima[i][t])), acc);
    }
    return acc;
  }
};

template <typename F, int kTokens>
void dot_super_tokens(const WeightRows& weights, const int8_t* codes, const float* x_scales,
                      const int16_t* x_sums, float* out, int64_t out_stride) {
  using Buffer = typename BufferOf<F>::Type;
  using Stretch = SuperStretch<F, kTokens>;
  const int64_t k = weights.k, num_blocks = k / 256, block_bytes = weights.format->block_bytes;
  Stretch stretch;
  for (int first = 0; first < weights.num_rows; first += 8) {
    const RowPointers rows = row_pointers(weights, first);
    __m256 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm256_setzero_ps();
    for (int64_t b0 = 0; b0 < num_blocks; b0 += kStretchBlocks) {
      const int blocks = static_cast<int>(
          num_blocks - b0 < kStretchBlocks ? num_blocks - b0 : int64_t{kStretchBlocks});
      const int64_t begin = b0 * block_bytes, end = begin + blocks * block_bytes;
      for (int i = 0; i < blocks; ++i) {
        for (int t = 0; t < kTokens; ++t) {
          stretch.sums[i][t] = split_sums(x_sums + t * (k / 16) + 16 * (b0 + i));
        }
      }
      for (int r = 0; r < 8; ++r) {
        const char* ahead = two_ahead(rows, weights.row_bytes, r, begin, end);
        for (int i = 0; i < blocks; ++i) {
          Buffer buffer;
          prefetch<F::kBytes>(ahead + i * block_bytes);
          const uint8_t* b =
              block_at<F>(*weights.format, rows.row[r] + begin + i * block_bytes, 0, buffer);
          Stretch::multiply_block(stretch, b, codes + 256 * (b0 + i), k, i, r);
        }
      }
      for (int i = 0; i < blocks; ++i) {
        for (int t = 0; t < kTokens; ++t) {
          const float x_scale = x_scales[t * num_blocks + b0 + i];
          acc[t] = Stretch::add_block(stretch, acc[t], x_scale, i, t);
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      store_rows(out + t * out_stride + first, acc[t], weights.num_rows - first);
    }
  }
}

// ---- dispatch ----

template <typename F, int kTokens>
REALM_INLINE void dot_tokens(const WeightRows& weights, const QuantizedTokens& x, int64_t t,
                             float* out, int64_t out_stride) {
  const int8_t* codes = x.codes + t * x.k;
  const float* scales = x.scales + t * (x.k / x.group);
  const int16_t* sums = x.sums + t * (x.k / 16);
  if constexpr (F::kElements == 256) {
    dot_super_tokens<F, kTokens>(weights, codes, scales, sums, out + t * out_stride, out_stride);
  } else if constexpr (F::kPairs) {
    dot_pairs_tokens<F, kTokens>(weights, codes, scales, sums, out + t * out_stride, out_stride);
  } else {
    dot_small_tokens<F, kTokens>(weights, codes, scales, sums, out + t * out_stride, out_stride);
  }
}

template <typename F>
struct Dot {
  static void run(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens,
                  float* out, int64_t out_stride) {
    int64_t t = 0;
    for (; t + 2 <= num_tokens; t += 2) dot_tokens<F, 2>(weights, x, t, out, out_stride);
    if (t < num_tokens) dot_tokens<F, 1>(weights, x, t, out, out_stride);
  }
};

}  // namespace

void dot(const WeightRows& weights, const QuantizedTokens& x, int64_t num_tokens, float* out,
         int64_t out_stride, uint8_t*) {
  using Function = void (*)(const WeightRows&, const QuantizedTokens&, int64_t, float*, int64_t);
  kernel_for<Function, Dot> (*weights.format)(weights, x, num_tokens, out, out_stride);
}

}  // namespace realm::cpu::avx2
