// How an element gets into a row of the KV cache, by the cache's type.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "backends/cuda/attention.cuh"

namespace realm::cuda {

// Of every type but Q8_0.
__device__ inline void store_cached(std::byte* row, CacheType type, int d, float value) {
  if (type == CacheType::kF32) {
    reinterpret_cast<float*>(row)[d] = value;
  } else if (type == CacheType::kF16) {
    reinterpret_cast<__half*>(row)[d] = __float2half_rn(value);
  } else if (type == CacheType::kBF16) {
    reinterpret_cast<__nv_bfloat16*>(row)[d] = __float2bfloat16_rn(value);
  } else {
    row[d] = std::byte{__nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3)};
  }
}

// The scale of a Q8_0 block by the largest of its elements' sizes. The arithmetic is encode_q8_0's:
// it is rounded to half precision first, kept off zero and infinity.
struct Q8Scale {
  uint16_t bits;
  float inverse;

  __device__ explicit Q8Scale(float largest) {
    const float factor = fminf(largest / 127.0f, 65504.0f);
    bits = __half_as_ushort(__float2half_rn(factor));
    if (bits == 0 && factor != 0.0f) bits = 1;
    inverse = bits == 0 ? 0.0f : 1.0f / __half2float(__ushort_as_half(bits));
  }
  // Element d of the row; a block's first one brings the scale.
  __device__ void store(std::byte* row, int d, float value) const {
    const float code = rintf(fminf(fmaxf(value * inverse, -127.0f), 127.0f));
    std::byte* block = row + d / 32 * 34;
    if (d % 32 == 0) *reinterpret_cast<uint16_t*>(block) = bits;
    reinterpret_cast<int8_t*>(block + 2)[d % 32] = static_cast<int8_t>(code);
  }
};

}  // namespace realm::cuda
