// The kernels of experts' products for the codebook formats.
#pragma once

#include "backends/cuda/expert_wgmma.cuh"
#include "backends/cuda/tiles_grids.cuh"

namespace realm::cuda {

template <DType kType>
constexpr ExpertKernels grid_expert_kernels() {
  return {.type = kType,
          .matvec = launch_expert_matvec<SharedGridFormat<kType>>,
          .matmul_32 = launch_expert_wgmma<Tiled<kType>, 32>,
          .matmul_128 = launch_expert_wgmma<Tiled<kType>, 128>};
}

}  // namespace realm::cuda
