// The kernels of the matrix product for the codebook formats.
#pragma once

#include "backends/cuda/integer_grids.cuh"
#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

template <DType kType>
constexpr ProductKernels grid_kernels() {
  using Format = SharedGridFormat<kType>;
  return integer_kernels<kType>({.type = kType,
                                 .matvec = launch_matvec<Format>,
                                 .gated_matvec = launch_gated_matvec<Format>,
                                 .matmul = launch_matmul_two_sizes<Tiled<kType>>});
}

}  // namespace realm::cuda
