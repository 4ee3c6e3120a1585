#include "backends/cuda/matmul_half.cuh"
#include "backends/cuda/tiles_grids.cuh"

namespace realm::cuda {

extern const ProductKernels half_iq3_xxs = half_kernels<DType::kIQ3_XXS>();
extern const ProductKernels half_iq3_s = half_kernels<DType::kIQ3_S>();
extern const ProductKernels half_iq1_s = half_kernels<DType::kIQ1_S>();
extern const ProductKernels half_iq1_m = half_kernels<DType::kIQ1_M>();

}  // namespace realm::cuda
