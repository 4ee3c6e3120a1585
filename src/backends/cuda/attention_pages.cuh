// A page of one KV head, its keys and its values, as the copy engine brings it into shared memory
// and as mma.m16n8k16 takes it: first factors of 16 positions by 16 dimensions (scores), or of 16
// dimensions by 16 positions (weighted values). A product's order of dimensions or positions is
// free where both factors have the same; each type takes the one in which its elements come out of
// shared memory without conflicts of banks and with few instructions:
//   BF16        in order, by ldmatrix, pages swizzled by the copy engine;
//   E4M3        likewise, as pairs of bytes, each widened to half precision, exactly;
//   Q8_0        by loads of 16 and 32 bits, since blocks are 34 bytes; keys' products are of codes
//               (exact) and scaled after each block, values are scaled in half precision.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "backends/cuda/async.cuh"
#include "backends/cuda/attention.cuh"
#include "backends/cuda/mma.cuh"

namespace realm::cuda {

inline constexpr int kPage = kPageTokens;
// Of decode's kernel: heads that share a KV head, sequences of a launch. Of a block of prefill's:
// tokens times such heads.
inline constexpr int kTypedHeadsMax = 16, kTypedSequences = 256, kTypedRows = 128;

__device__ inline uint32_t load_shared_16(uint32_t address) {
  uint16_t value;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(value) : "r"(address) : "memory");
  return value;
}
__device__ inline uint32_t load_shared_32(uint32_t address) {
  uint32_t value;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  return value;
}

template <bool kBf16>
__device__ uint32_t pack_pair(float low, float high) {
  if constexpr (!kBf16) return pack_half(low, high);
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Bytes that lie together, a multiple of 16, by the copy engine; `barrier` counts them.
__device__ inline void copy_bytes(void* to, const void* from, int bytes, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}

// The low and the high two of four E4M3 in half precision, exactly.
__device__ inline void widen_e4m3(uint32_t codes, uint32_t& low, uint32_t& high) {
  asm("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %2;\ncvt.rn.f16x2.e4m3x2 %0, l;\n"
      "cvt.rn.f16x2.e4m3x2 %1, h;\n}\n"
      : "=r"(low), "=r"(high)
      : "r"(codes));
}

// Two bytes of codes (each plus 128) in half precision: as the low bits of 1024, less 1152.
__device__ inline uint32_t widen_codes(uint32_t codes, uint32_t selector) {
  const uint32_t biased = __byte_perm(codes, 0x64646464u, selector);
  const __half2 value =
      __hsub2(*reinterpret_cast<const __half2*>(&biased), __half2half2(__ushort_as_half(0x6480)));
  return *reinterpret_cast<const uint32_t*>(&value);
}
__device__ inline uint32_t scale_halves(uint32_t x, uint32_t factors) {
  const __half2 product =
      __hmul2(*reinterpret_cast<const __half2*>(&x), *reinterpret_cast<const __half2*>(&factors));
  return *reinterpret_cast<const uint32_t*>(&product);
}

// What the types have in common. Rows of 16-bit units come in boxes of 128 bytes, whose pieces of
// 16 bytes the copy engine swizzles; a box has two rows a line where a row is 64 bytes.
template <int kRowBytes>
struct SwizzledPage {
  static constexpr int kPageBytes = kPage * kRowBytes;
  static constexpr int kBoxes = kRowBytes < 128 ? 1 : kRowBytes / 128;
  static constexpr int kPitch = kRowBytes < 128 ? kRowBytes : 128;
  static constexpr int kBoxRows = kPage * kPitch / 128;
  static constexpr int kBoxBytes = kPage * kPitch;
  static constexpr bool kMapped = true;
  // Of the map: 16-bit columns, and bytes of a row.
  static constexpr int kMapColumns = 64 * kBoxes, kMapRowBytes = 128 * kBoxes;

  static __device__ uint32_t at(int row, int piece) {
    const int place = piece / (kPitch / 16) * kBoxBytes + row * kPitch + piece % (kPitch / 16) * 16;
    return static_cast<uint32_t>(place ^ (place / 128 % 8) * 16);
  }
  static __device__ void fetch(const CUtensorMap* map, const std::byte*, int64_t offset,
                               std::byte* to, uint64_t* barrier) {
    const auto row = static_cast<int>(offset / kMapRowBytes);
#pragma unroll
    for (int c = 0; c < kBoxes; ++c) copy_box(to + c * kBoxBytes, map, 64 * c, row, barrier);
  }
  // Of row g of a score's first factor (+ 8 * r), lane 4 g + t.
  static __device__ int position(int g, int r) {
    return g + 8 * r;
  }
};

template <CacheType kType, int kDim>
struct PageOf;

template <int kDim>
struct PageOf<CacheType::kBF16, kDim> : SwizzledPage<2 * kDim> {
  using Base = SwizzledPage<2 * kDim>;

  static __device__ uint32_t pack(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
  // First of the two dimensions in register i of step d's second factor.
  static __device__ int query_dim(int d, int i, int t) { return 16 * d + 2 * t + 8 * i; }
  // Dimension of row g + 8 r of step d's sums.
  static __device__ int value_dim(int d, int r, int g) { return 16 * d + g + 8 * r; }

  template <int kTiles>
  static __device__ void add_scores(const uint32_t (&q)[kTiles][kDim / 16][2], uint32_t keys,
                                    int lane, float (&scores)[kTiles][2][4]) {
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        uint32_t k[4];
        load_matrices(k, keys + Base::at(16 * m + lane % 16, 2 * d + lane / 16));
#pragma unroll
        for (int n = 0; n < kTiles; ++n) mma_bf16(scores[n][m], k, q[n][d][0], q[n][d][1]);
      }
    }
  }
  template <int kTiles>
  static __device__ void add_values(const uint32_t (&p)[kTiles][2][2], uint32_t values, int lane,
                                    float (&out)[kTiles][kDim / 16][4]) {
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        uint32_t v[4];
        load_matrices_transposed(
            v, values + Base::at(16 * m + lane % 8 + lane / 16 * 8, 2 * d + lane / 8 % 2));
#pragma unroll
        for (int n = 0; n < kTiles; ++n) mma_bf16(out[n][d], v, p[n][m][0], p[n][m][1]);
      }
    }
  }
};

template <int kDim>
struct PageOf<CacheType::kE4M3, kDim> : SwizzledPage<kDim> {
  using Base = SwizzledPage<kDim>;

  static __device__ uint32_t pack(float low, float high) { return pack_half(low, high); }
  // A lane's four bytes of a row of ldmatrix are four dimensions.
  static __device__ int query_dim(int d, int i, int t) { return 16 * d + 4 * t + 2 * i; }
  // And of a column two positions of two dimensions.
  static __device__ int value_dim(int d, int r, int g) { return 16 * d + 2 * g + r; }

  template <int kTiles>
  static __device__ void add_scores(const uint32_t (&q)[kTiles][kDim / 16][2], uint32_t keys,
                                    int lane, float (&scores)[kTiles][2][4]) {
#pragma unroll
    for (int d = 0; d < kDim / 16; d += 2) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        uint32_t codes[4];
        load_matrices(codes, keys + Base::at(16 * m + lane % 16, d + lane / 16));
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          uint32_t k[4];
          widen_e4m3(codes[2 * i], k[0], k[2]);
          widen_e4m3(codes[2 * i + 1], k[1], k[3]);
#pragma unroll
          for (int n = 0; n < kTiles; ++n) {
            mma_f16(scores[n][m], k, q[n][d + i][0], q[n][d + i][1]);
          }
        }
      }
    }
  }
  template <int kTiles>
  static __device__ void add_values(const uint32_t (&p)[kTiles][2][2], uint32_t values, int lane,
                                    float (&out)[kTiles][kDim / 16][4]) {
#pragma unroll
    for (int d = 0; d < kDim / 16; d += 2) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        uint32_t codes[4];
        load_matrices_transposed(codes, values + Base::at(16 * m + lane % 16, d + lane / 16));
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          uint32_t v[4];
          widen_e4m3(__byte_perm(codes[2 * i], 0, 0x3120), v[0], v[1]);
          widen_e4m3(__byte_perm(codes[2 * i + 1], 0, 0x3120), v[2], v[3]);
#pragma unroll
          for (int n = 0; n < kTiles; ++n) mma_f16(out[n][d + i], v, p[n][m][0], p[n][m][1]);
        }
      }
    }
  }
};

// Rows of 34 bytes a block: a scale and 32 codes, which lie at a multiple of 4 bytes in odd blocks
// and 2 past one in even ones.
template <int kDim>
struct PageOf<CacheType::kQ8_0, kDim> {
  static constexpr int kRowBytes = kDim / 32 * 34;
  static constexpr int kPageBytes = kPage * kRowBytes;
  static constexpr bool kMapped = false;
  static constexpr int kMapColumns = 64, kMapRowBytes = 128, kBoxRows = 8;  // not used

  static __device__ void fetch(const CUtensorMap*, const std::byte* cache, int64_t offset,
                               std::byte* to, uint64_t* barrier) {
    copy_bytes(to, cache + offset, kPageBytes, barrier);
  }
  static __device__ uint32_t pack(float low, float high) { return pack_half(low, high); }
  // So that four lanes' words of eight rows lie in different banks, where a row is 136 bytes.
  static __device__ int position(int g, int r) { return g / 2 * 4 + g % 2 + 2 * r; }
  static __device__ int query_dim(int d, int i, int t) {
    return d / 2 * 32 + 4 * (t % 2 + t / 2 * 4 + d % 2 * 2) + 2 * i;
  }
  static __device__ int value_dim(int d, int r, int g) {
    return d / 2 * 32 + 4 * g + d % 2 * 2 + r;
  }
  // Four codes at a multiple of 4 bytes past a block's first one, the low two and the high two.
  template <bool kOdd>
  static __device__ void load_codes(uint32_t address, uint32_t& low, uint32_t& high) {
    if constexpr (kOdd) {
      low = load_shared_32(address);
      high = low >> 16;
    } else {
      low = load_shared_16(address);
      high = load_shared_16(address + 2);
    }
  }

  template <bool kOdd, int kTiles>
  static __device__ void add_block_scores(const uint32_t (&q)[kTiles][kDim / 16][2], uint32_t keys,
                                          int lane, int b, float (&scores)[kTiles][2][4]) {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      float sums[kTiles][4] = {};
      uint32_t rows[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        rows[r] = keys + static_cast<uint32_t>((16 * m + position(g, r)) * kRowBytes + b * 34);
      }
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const auto word = static_cast<uint32_t>(2 + 4 * (t % 2 + t / 2 * 4 + 2 * s));
        uint32_t k[4];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          uint32_t low, high;
          load_codes<kOdd>(rows[r] + word, low, high);
          k[r] = widen_codes(low ^ 0x8080u, 0x4140);
          k[2 + r] = widen_codes(high ^ 0x8080u, 0x4140);
        }
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
          mma_f16(sums[n], k, q[n][2 * b + s][0], q[n][2 * b + s][1]);
        }
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float scale =
            __half2float(__ushort_as_half(static_cast<uint16_t>(load_shared_16(rows[r]))));
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
          for (int i = 0; i < 2; ++i) scores[n][m][2 * r + i] += scale * sums[n][2 * r + i];
        }
      }
    }
  }
  template <bool kOdd, int kTiles>
  static __device__ void add_block_values(const uint32_t (&p)[kTiles][2][2], uint32_t values,
                                          int lane, int b, float (&out)[kTiles][kDim / 16][4]) {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      // The four positions that a lane's elements of the second factor are of.
      uint32_t codes[4][2], scales[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t row =
            values + static_cast<uint32_t>((16 * m + 4 * t + j) * kRowBytes + b * 34);
        scales[j] = load_shared_16(row);
        load_codes<kOdd>(row + 2 + 4 * static_cast<uint32_t>(g), codes[j][0], codes[j][1]);
      }
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        uint32_t v[4];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const uint32_t factors = scales[2 * h] | scales[2 * h + 1] << 16;
          const uint32_t pairs =
              __byte_perm(codes[2 * h][s], codes[2 * h + 1][s], 0x5140) ^ 0x80808080u;
          v[2 * h] = scale_halves(widen_codes(pairs, 0x4140), factors);
          v[2 * h + 1] = scale_halves(widen_codes(pairs, 0x4342), factors);
        }
#pragma unroll
        for (int n = 0; n < kTiles; ++n) mma_f16(out[n][2 * b + s], v, p[n][m][0], p[n][m][1]);
      }
    }
  }
  template <int kTiles>
  static __device__ void add_scores(const uint32_t (&q)[kTiles][kDim / 16][2], uint32_t keys,
                                    int lane, float (&scores)[kTiles][2][4]) {
#pragma unroll
    for (int b = 0; b < kDim / 32; b += 2) {
      add_block_scores<false>(q, keys, lane, b, scores);
      add_block_scores<true>(q, keys, lane, b + 1, scores);
    }
  }
  template <int kTiles>
  static __device__ void add_values(const uint32_t (&p)[kTiles][2][2], uint32_t values, int lane,
                                    float (&out)[kTiles][kDim / 16][4]) {
#pragma unroll
    for (int b = 0; b < kDim / 32; b += 2) {
      add_block_values<false>(p, values, lane, b, out);
      add_block_values<true>(p, values, lane, b + 1, out);
    }
  }
};

}  // namespace realm::cuda
