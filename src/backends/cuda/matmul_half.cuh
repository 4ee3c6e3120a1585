// Products in half precision (Compute::kFp16): the kernels of bfloat16 with sources that decode to
// half. F16 weights are used as they are; those of 8-bit codes and BF16 are rounded to half once,
// the others as they are decoded for bfloat16, whose eight bits half precision holds exactly.
#pragma once

#include "backends/cuda/matmul_wgmma.cuh"
#include "backends/cuda/matvec.cuh"
#include "backends/cuda/tiles_planes.cuh"

namespace realm::cuda {

// Pairs of bfloat16 as pairs of half.
__device__ inline uint32_t half_of_bfloat(uint32_t pair) {
  return pack_half(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}
__device__ inline void halves_of_bfloats(uint32_t (&a)[4][4]) {
#pragma unroll
  for (int i = 0; i < 16; ++i) a[i / 4][i % 4] = half_of_bfloat(a[i / 4][i % 4]);
}

template <DType kType>
struct HalfFormat : TileFormat<kType> {
  using Base = TileFormat<kType>;
  template <int kPart>
  static __device__ void decode(const typename Base::Raw& raw, const typename Base::Factors& f,
                                uint32_t (&a)[4][4]) {
    Base::template decode<kPart>(raw, f, a);
    halves_of_bfloats(a);
  }
};

// The bits as they lie.
template <>
struct HalfFormat<DType::kF16> : FloatTiles<false> {};

template <>
struct HalfFormat<DType::kQ8_0> : TileFormat<DType::kQ8_0> {
  template <int kPart>
  static __device__ void decode(const Raw& raw, const Factors& f, uint32_t (&a)[4][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t word = word_of(raw.q[2 * row + kPart], s);
        const float d = f.d[row];
        a[s][row] = pack_half(biased_byte(word, 0) * d, biased_byte(word, 1) * d);
        a[s][2 + row] = pack_half(biased_byte(word, 2) * d, biased_byte(word, 3) * d);
      }
    }
  }
};

template <DType kType>
using HalfTiled = Tiled<kType, HalfFormat<kType>>;

template <DType kType>
inline constexpr bool kIsHalf<HalfFormat<kType>> = true;
template <DType kType>
inline constexpr bool kIsHalf<HalfTiled<kType>> = true;

template <DType kType>
constexpr ProductKernels half_kernels() {
  return {.type = kType,
          .matvec = launch_matvec<HalfFormat<kType>>,
          .gated_matvec = nullptr,
          .matmul = launch_matmul_two_sizes<HalfTiled<kType>>};
}

}  // namespace realm::cuda
