// Decoding block formats on the device, straight from the bytes of a file: RawBlock<type>::decode16
// gives 16 consecutive elements of a row, which every format can do with one scale. Serves what is
// not in tiles (tiles.cuh): tables that are no imported weights, experts that are slices of one.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "formats/dtype.h"
#include "formats/quant/codebooks.h"
#include "formats/quant/iq1_m.h"
#include "formats/quant/iq1_s.h"
#include "formats/quant/iq2_s.h"
#include "formats/quant/iq2_xs.h"
#include "formats/quant/iq2_xxs.h"
#include "formats/quant/iq3_s.h"
#include "formats/quant/iq3_xxs.h"
#include "formats/quant/iq4_nl.h"
#include "formats/quant/iq4_xs.h"
#include "formats/quant/iq_grids.h"
#include "formats/quant/mxfp4.h"
#include "formats/quant/nvfp4.h"
#include "formats/quant/q1_0.h"
#include "formats/quant/q2_0.h"
#include "formats/quant/q2_k.h"
#include "formats/quant/q3_k.h"
#include "formats/quant/q4_0.h"
#include "formats/quant/q4_1.h"
#include "formats/quant/q4_k.h"
#include "formats/quant/q5_0.h"
#include "formats/quant/q5_1.h"
#include "formats/quant/q5_k.h"
#include "formats/quant/q6_k.h"
#include "formats/quant/q8_0.h"
#include "formats/quant/q8_1.h"
#include "formats/quant/q8_k.h"
#include "formats/quant/tq1_0.h"
#include "formats/quant/tq2_0.h"

namespace realm::cuda {

// The codebooks in device memory; a backend uploads one copy.
struct IqGrids {
  IqGrid<uint64_t, 256> iq2_xxs;
  IqGrid<uint64_t, 512> iq2_xs;
  IqGrid<uint64_t, 1024> iq2_s;
  IqGrid<uint64_t, 2048> iq1;
  IqGrid<uint32_t, 256> iq3_xxs;
  IqGrid<uint32_t, 512> iq3_s;
  int8_t iq4[16];
  int8_t fp4[16];
};

__device__ inline float half_bits(uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}

// decode16(row, chunk, half, grids, out): elements 32 * chunk + 16 * half and the 15 after it.
template <DType kType>
struct RawBlock;

template <typename Block>
__device__ inline const Block& block_at(const uint8_t* row, int index) {
  return reinterpret_cast<const Block*>(row)[index];
}

template <>
struct RawBlock<DType::kQ4_0> {
  static constexpr UnpackShape kShape = kQ4_0Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ4_0>(row, chunk);
    const float d = half_bits(b.d);
#pragma unroll
    for (int i = 0; i < 16; ++i)
      out[i] = d * static_cast<float>(((b.qs[i] >> (4 * half)) & 15) - 8);
  }
};

template <>
struct RawBlock<DType::kQ4_1> {
  static constexpr UnpackShape kShape = kQ4_1Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ4_1>(row, chunk);
    const float d = half_bits(b.d), m = half_bits(b.m);
#pragma unroll
    for (int i = 0; i < 16; ++i) out[i] = d * static_cast<float>((b.qs[i] >> (4 * half)) & 15) + m;
  }
};

template <>
struct RawBlock<DType::kQ5_0> {
  static constexpr UnpackShape kShape = kQ5_0Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ5_0>(row, chunk);
    const float d = half_bits(b.d);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int high = (b.qh[2 * half + i / 8] >> (i % 8)) & 1;
      out[i] = d * static_cast<float>((((b.qs[i] >> (4 * half)) & 15) | (high << 4)) - 16);
    }
  }
};

template <>
struct RawBlock<DType::kQ5_1> {
  static constexpr UnpackShape kShape = kQ5_1Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ5_1>(row, chunk);
    const float d = half_bits(b.d), m = half_bits(b.m);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int high = (b.qh[2 * half + i / 8] >> (i % 8)) & 1;
      out[i] = d * static_cast<float>(((b.qs[i] >> (4 * half)) & 15) | (high << 4)) + m;
    }
  }
};

template <>
struct RawBlock<DType::kQ8_0> {
  static constexpr UnpackShape kShape = kQ8_0Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ8_0>(row, chunk);
    const float d = half_bits(b.d);
#pragma unroll
    for (int i = 0; i < 16; ++i) out[i] = d * static_cast<float>(b.qs[16 * half + i]);
  }
};

template <>
struct RawBlock<DType::kQ8_1> {
  static constexpr UnpackShape kShape = kQ8_1Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ8_1>(row, chunk);
    const float d = half_bits(b.d);
#pragma unroll
    for (int i = 0; i < 16; ++i) out[i] = d * static_cast<float>(b.qs[16 * half + i]);
  }
};

template <>
struct RawBlock<DType::kQ2_K> {
  static constexpr UnpackShape kShape = kQ2_KShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ2_K>(row, chunk / 8);
    const int run = chunk % 8, scale = b.scales[2 * run + half];
    const float d = half_bits(b.d) * static_cast<float>(scale & 15);
    const float m = half_bits(b.dmin) * static_cast<float>(scale >> 4);
    const uint8_t* qs = b.qs + 32 * (run / 4) + 16 * half;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>((qs[i] >> (2 * (run % 4))) & 3) - m;
    }
  }
};

template <>
struct RawBlock<DType::kQ3_K> {
  static constexpr UnpackShape kShape = kQ3_KShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ3_K>(row, chunk / 8);
    const int run = chunk % 8;
    const float d = half_bits(b.d) * static_cast<float>(b.scale(2 * run + half));
    const uint8_t* qs = b.qs + 32 * (run / 4) + 16 * half;
    const uint8_t* high = b.hmask + 16 * half;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int code = ((qs[i] >> (2 * (run % 4))) & 3) | (((high[i] >> run) & 1) << 2);
      out[i] = d * static_cast<float>(code - 4);
    }
  }
};

template <>
struct RawBlock<DType::kQ4_K> {
  static constexpr UnpackShape kShape = kQ4_KShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ4_K>(row, chunk / 8);
    const int run = chunk % 8;
    const KScaleMin sub = k_scale_min(b.scales, run);
    const float d = half_bits(b.d) * static_cast<float>(sub.scale);
    const float m = half_bits(b.dmin) * static_cast<float>(sub.min);
    const uint8_t* qs = b.qs + 32 * (run / 2) + 16 * half;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>((qs[i] >> (4 * (run % 2))) & 15) - m;
    }
  }
};

template <>
struct RawBlock<DType::kQ5_K> {
  static constexpr UnpackShape kShape = kQ5_KShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ5_K>(row, chunk / 8);
    const int run = chunk % 8;
    const KScaleMin sub = k_scale_min(b.scales, run);
    const float d = half_bits(b.d) * static_cast<float>(sub.scale);
    const float m = half_bits(b.dmin) * static_cast<float>(sub.min);
    const uint8_t* qs = b.qs + 32 * (run / 2) + 16 * half;
    const uint8_t* high = b.qh + 16 * half;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int code = ((qs[i] >> (4 * (run % 2))) & 15) | (((high[i] >> run) & 1) << 4);
      out[i] = d * static_cast<float>(code) - m;
    }
  }
};

template <>
struct RawBlock<DType::kQ6_K> {
  static constexpr UnpackShape kShape = kQ6_KShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ6_K>(row, chunk / 8);
    const int run = chunk % 8, quarter = run % 4;
    const float d = half_bits(b.d) * static_cast<float>(b.scales[2 * run + half]);
    const uint8_t* ql = b.ql + 64 * (run / 4) + 32 * (quarter % 2) + 16 * half;
    const uint8_t* qh = b.qh + 32 * (run / 4) + 16 * half;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int code =
          ((ql[i] >> (4 * (quarter / 2))) & 15) | (((qh[i] >> (2 * quarter)) & 3) << 4);
      out[i] = d * static_cast<float>(code - 32);
    }
  }
};

template <>
struct RawBlock<DType::kQ8_K> {
  static constexpr UnpackShape kShape = kQ8_KShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ8_K>(row, chunk / 8);
    const int8_t* qs = b.qs + 32 * (chunk % 8) + 16 * half;
#pragma unroll
    for (int i = 0; i < 16; ++i) out[i] = b.d * static_cast<float>(qs[i]);
  }
};

// 8 elements of a magnitude codebook with their signs.
__device__ inline void signed_vector(uint64_t entry, uint32_t signs, float d, float* out) {
#pragma unroll
  for (int j = 0; j < 8; ++j) out[j] = d * static_cast<float>(iq_signed(entry, signs, j));
}

__device__ inline void signed_quad(uint32_t entry, uint32_t signs, float d, float* out) {
#pragma unroll
  for (int j = 0; j < 4; ++j) out[j] = d * static_cast<float>(iq_signed(entry, signs, j));
}

__device__ inline void shifted_vector(uint64_t entry, int delta, float d, float* out) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int g = static_cast<int8_t>((entry >> (8 * j)) & 0xff);
    out[j] = d * static_cast<float>(8 * g + delta);
  }
}

template <>
struct RawBlock<DType::kIQ2_XXS> {
  static constexpr UnpackShape kShape = kIQ2_XXSShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockIQ2_XXS>(row, chunk / 8);
    const int group = chunk % 8;
    const uint32_t word = b.signs_and_scale(group);
    const float d = half_bits(b.d) * 0.125f * static_cast<float>(2 * (word >> 28) + 1);
    for (int v = 0; v < 2; ++v) {
      const int l = 2 * half + v;
      signed_vector(grids.iq2_xxs[b.index(group, l)], iq_even_signs((word >> (7 * l)) & 127), d,
                    out + 8 * v);
    }
  }
};

template <>
struct RawBlock<DType::kIQ2_XS> {
  static constexpr UnpackShape kShape = kIQ2_XSShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockIQ2_XS>(row, chunk / 8);
    const int group = chunk % 8;
    const int scale = (b.scales[group] >> (4 * half)) & 15;
    const float d = half_bits(b.d) * 0.125f * static_cast<float>(2 * scale + 1);
    for (int v = 0; v < 2; ++v) {
      const uint32_t q = b.qs[4 * group + 2 * half + v];
      signed_vector(grids.iq2_xs[q & 511], iq_even_signs(q >> 9), d, out + 8 * v);
    }
  }
};

template <>
struct RawBlock<DType::kIQ2_S> {
  static constexpr UnpackShape kShape = kIQ2_SShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockIQ2_S>(row, chunk / 8);
    const int group = chunk % 8;
    const int scale = (b.scales[group] >> (4 * half)) & 15;
    const float d = half_bits(b.d) * 0.125f * static_cast<float>(2 * scale + 1);
    for (int v = 0; v < 2; ++v) {
      const int vector = 4 * group + 2 * half + v;
      signed_vector(grids.iq2_s[b.index(vector)], b.signs[vector], d, out + 8 * v);
    }
  }
};

template <>
struct RawBlock<DType::kIQ3_XXS> {
  static constexpr UnpackShape kShape = kIQ3_XXSShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockIQ3_XXS>(row, chunk / 8);
    const int group = chunk % 8;
    const uint32_t word = b.signs_and_scale(group);
    const float d = half_bits(b.d) * 0.25f * static_cast<float>(2 * (word >> 28) + 1);
    for (int v = 0; v < 4; ++v) {
      const uint32_t signs = iq_even_signs((word >> (7 * (2 * half + v / 2))) & 127);
      signed_quad(grids.iq3_xxs[b.qs[8 * group + 4 * half + v]], signs >> (4 * (v % 2)), d,
                  out + 4 * v);
    }
  }
};

template <>
struct RawBlock<DType::kIQ3_S> {
  static constexpr UnpackShape kShape = kIQ3_SShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockIQ3_S>(row, chunk / 8);
    const int group = chunk % 8;
    const int scale = (b.scales[group / 2] >> (4 * (group % 2))) & 15;
    const float d = half_bits(b.d) * static_cast<float>(2 * scale + 1);
    for (int v = 0; v < 4; ++v) {
      const uint32_t signs = b.signs[4 * group + 2 * half + v / 2];
      signed_quad(grids.iq3_s[b.index(8 * group + 4 * half + v)], signs >> (4 * (v % 2)), d,
                  out + 4 * v);
    }
  }
};

template <>
struct RawBlock<DType::kIQ1_S> {
  static constexpr UnpackShape kShape = kIQ1_SShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockIQ1_S>(row, chunk / 8);
    const int group = chunk % 8;
    const float d = half_bits(b.d) * 0.125f * static_cast<float>(b.scale(group));
    for (int v = 0; v < 2; ++v) {
      shifted_vector(grids.iq1[b.index(4 * group + 2 * half + v)], b.delta_negative(group) ? -1 : 1,
                     d, out + 8 * v);
    }
  }
};

template <>
struct RawBlock<DType::kIQ1_M> {
  static constexpr UnpackShape kShape = kIQ1_MShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockIQ1_M>(row, chunk / 8);
    const int group = chunk % 8;
    const float d = half_bits(b.d()) * 0.125f * static_cast<float>(b.scale(2 * group + half));
    for (int v = 0; v < 2; ++v) {
      const int vector = 4 * group + 2 * half + v;
      shifted_vector(grids.iq1[b.index(vector)], b.delta_negative(vector) ? -1 : 1, d, out + 8 * v);
    }
  }
};

template <>
struct RawBlock<DType::kIQ4_NL> {
  static constexpr UnpackShape kShape = kIQ4_NLShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockIQ4_NL>(row, chunk);
    const float d = half_bits(b.d);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(grids.iq4[(b.qs[i] >> (4 * half)) & 15]);
    }
  }
};

template <>
struct RawBlock<DType::kIQ4_XS> {
  static constexpr UnpackShape kShape = kIQ4_XSShape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockIQ4_XS>(row, chunk / 8);
    const int group = chunk % 8;
    const float d = half_bits(b.d) * static_cast<float>(b.scale(group));
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(grids.iq4[(b.qs[16 * group + i] >> (4 * half)) & 15]);
    }
  }
};

template <>
struct RawBlock<DType::kTQ1_0> {
  static constexpr UnpackShape kShape = kTQ1_0Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockTQ1_0>(row, chunk / 8);
    const int run = chunk % 8;
    const float d = half_bits(b.d);
    for (int i = 0; i < 16; ++i) {
      int digit;
      if (run < 5) {
        digit = BlockTQ1_0::digit(b.qs[16 * half + i], run);
      } else if (2 * run + half < 15) {
        digit = BlockTQ1_0::digit(b.qs[32 + i], 2 * run + half - 10);
      } else {
        digit = BlockTQ1_0::digit(b.qh[i % 4], i / 4);
      }
      out[i] = d * static_cast<float>(digit - 1);
    }
  }
};

template <>
struct RawBlock<DType::kTQ2_0> {
  static constexpr UnpackShape kShape = kTQ2_0Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockTQ2_0>(row, chunk / 8);
    const int run = chunk % 8;
    const float d = half_bits(b.d);
    const uint8_t* qs = b.qs + 32 * (run / 4) + 16 * half;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(((qs[i] >> (2 * (run % 4))) & 3) - 1);
    }
  }
};

template <>
struct RawBlock<DType::kMXFP4> {
  static constexpr UnpackShape kShape = kMXFP4Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockMXFP4>(row, chunk);
    const float d = __uint_as_float(e8m0_half_bits(b.e));
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(grids.fp4[(b.qs[i] >> (4 * half)) & 15]);
    }
  }
};

template <>
struct RawBlock<DType::kNVFP4> {
  static constexpr UnpackShape kShape = kNVFP4Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids& grids,
                                  float* out) {
    const auto& b = block_at<BlockNVFP4>(row, chunk / 2);
    const int sub = 2 * (chunk % 2) + half;
    const float d = static_cast<float>(ue4m3_in_units(b.d[sub])) * 0x1p-10f;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(grids.fp4[(b.qs[8 * sub + i % 8] >> (4 * (i / 8))) & 15]);
    }
  }
};

template <>
struct RawBlock<DType::kQ1_0> {
  static constexpr UnpackShape kShape = kQ1_0Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ1_0>(row, chunk / 4);
    const float d = half_bits(b.d);
    const uint8_t* qs = b.qs + 4 * (chunk % 4) + 2 * half;
#pragma unroll
    for (int i = 0; i < 16; ++i) out[i] = (qs[i / 8] >> (i % 8)) & 1 ? d : -d;
  }
};

template <>
struct RawBlock<DType::kQ2_0> {
  static constexpr UnpackShape kShape = kQ2_0Shape;
  static __device__ void decode16(const uint8_t* row, int chunk, int half, const IqGrids&,
                                  float* out) {
    const auto& b = block_at<BlockQ2_0>(row, chunk / 2);
    const float d = half_bits(b.d);
    const uint8_t* qs = b.qs + 8 * (chunk % 2) + 4 * half;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(((qs[i / 4] >> (2 * (i % 4))) & 3) - 1);
    }
  }
};

}  // namespace realm::cuda
