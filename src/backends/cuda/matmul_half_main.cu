#include "backends/cuda/matmul_half.cuh"

namespace realm::cuda {

extern const ProductKernels half_f16 = half_kernels<DType::kF16>();
extern const ProductKernels half_bf16 = half_kernels<DType::kBF16>();
extern const ProductKernels half_q8_0 = half_kernels<DType::kQ8_0>();
extern const ProductKernels half_q4_0 = half_kernels<DType::kQ4_0>();

}  // namespace realm::cuda
