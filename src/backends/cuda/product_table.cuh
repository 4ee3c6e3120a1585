// The kernels of the matrix product by weight type; each row's instances are compiled in a file of
// their own (matmul_q4_k.cu, ...), so that many compilers can work at once.
#pragma once

#include "backends/cuda/matmul_wgmma.cuh"
#include "backends/cuda/matvec.cuh"
#include "backends/cuda/matvec_integer.cuh"
#include "backends/cuda/tiles_planes.cuh"

namespace realm::cuda {

template <DType kType>
constexpr ProductKernels tiled_kernels() {
  using Format = TileFormat<kType>;
  return {.type = kType,
          .matvec = launch_matvec<Format>,
          .gated_matvec = launch_gated_matvec<Format>,
          .matmul = launch_matmul_tiled<Tiled<kType>>};
}

// The same, and gated products of many tokens.
template <DType kType>
constexpr ProductKernels gated_kernels() {
  ProductKernels kernels = tiled_kernels<kType>();
  kernels.gated_matmul = launch_matmul_tiled<GatedTiled<kType>>;
  return kernels;
}

// And products of integers.
template <DType kType>
constexpr ProductKernels integer_kernels(ProductKernels kernels) {
  kernels.integer_matvec = launch_integer_matvec<kType, false>;
  kernels.integer_gated_matvec = launch_integer_matvec<kType, true>;
  // Files of these types have some of their matrices in Q6_K.
  if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) {
    kernels.integer_matvec_with_q6_k = launch_integer_pair<kType, DType::kQ6_K>;
    kernels.matmul_with_q6_k = launch_matmul_pair<Tiled<kType>, Tiled<DType::kQ6_K>>;
  }
  return kernels;
}

// Of formats that are met less: the product for many tokens has two sizes of tiles only, which is
// what compiling it costs most for.
template <DType kType>
constexpr ProductKernels plane_kernels() {
  using Format = TileFormat<kType>;
  return {.type = kType,
          .matvec = launch_matvec<Format>,
          .gated_matvec = launch_gated_matvec<Format>,
          .matmul = launch_matmul_two_sizes<Tiled<kType>>};
}

}  // namespace realm::cuda
