#include "backends/cuda/matmul_half.cuh"
#include "backends/cuda/tiles_rare.cuh"

namespace realm::cuda {

extern const ProductKernels half_q2_k = half_kernels<DType::kQ2_K>();
extern const ProductKernels half_q3_k = half_kernels<DType::kQ3_K>();
extern const ProductKernels half_q4_k = half_kernels<DType::kQ4_K>();
extern const ProductKernels half_q5_k = half_kernels<DType::kQ5_K>();
extern const ProductKernels half_q6_k = half_kernels<DType::kQ6_K>();
extern const ProductKernels half_q8_k = half_kernels<DType::kQ8_K>();

}  // namespace realm::cuda
