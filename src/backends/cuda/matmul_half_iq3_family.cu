#include "backends/cuda/matmul_half.cuh"

namespace realm::cuda {

extern const ProductKernels half_iq3_xxs = half_plain_kernels<DType::kIQ3_XXS>();
extern const ProductKernels half_iq3_s = half_plain_kernels<DType::kIQ3_S>();
extern const ProductKernels half_iq1_s = half_plain_kernels<DType::kIQ1_S>();
extern const ProductKernels half_iq1_m = half_plain_kernels<DType::kIQ1_M>();

}  // namespace realm::cuda
