#include "backends/cuda/matmul_half.cuh"
#include "backends/cuda/tiles_grids.cuh"
#include "backends/cuda/tiles_rare.cuh"

namespace realm::cuda {

extern const ProductKernels half_iq4_nl = half_kernels<DType::kIQ4_NL>();
extern const ProductKernels half_iq4_xs = half_kernels<DType::kIQ4_XS>();
extern const ProductKernels half_mxfp4 = half_kernels<DType::kMXFP4>();
extern const ProductKernels half_nvfp4 = half_kernels<DType::kNVFP4>();
extern const ProductKernels half_iq2_xxs = half_kernels<DType::kIQ2_XXS>();
extern const ProductKernels half_iq2_xs = half_kernels<DType::kIQ2_XS>();
extern const ProductKernels half_iq2_s = half_kernels<DType::kIQ2_S>();

}  // namespace realm::cuda
