// The kernels of the matrix product by weight type; each row's instances are compiled in a file of
// their own (matmul_q4_k.cu, ...), so that many compilers can work at once.
#pragma once

#include "backends/cuda/matmul_wgmma.cuh"
#include "backends/cuda/matvec.cuh"

namespace realm::cuda {

template <DType kType>
constexpr ProductKernels tiled_kernels() {
  using Format = TileFormat<kType>;
  return {.type = kType,
          .matvec = launch_matvec<Format>,
          .gated_matvec = launch_gated_matvec<Format>,
          .matmul = launch_matmul_tiled<Tiled<kType>>};
}

template <DType kType>
constexpr ProductKernels plain_kernels() {
  using Source = Plain<kType>;
  return {.type = kType,
          .matvec = launch_matvec_blocks<Source>,
          .gated_matvec = nullptr,
          .matmul = launch_wgmma<Source, 64>};
}

}  // namespace realm::cuda
