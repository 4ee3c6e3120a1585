#include "backends/cuda/matmul_half.cuh"
#include "backends/cuda/tiles_rare.cuh"

namespace realm::cuda {

extern const ProductKernels half_q4_1 = half_kernels<DType::kQ4_1>();
extern const ProductKernels half_q5_0 = half_kernels<DType::kQ5_0>();
extern const ProductKernels half_q5_1 = half_kernels<DType::kQ5_1>();
extern const ProductKernels half_q8_1 = half_kernels<DType::kQ8_1>();
extern const ProductKernels half_tq1_0 = half_kernels<DType::kTQ1_0>();
extern const ProductKernels half_tq2_0 = half_kernels<DType::kTQ2_0>();
extern const ProductKernels half_q1_0 = half_kernels<DType::kQ1_0>();
extern const ProductKernels half_q2_0 = half_kernels<DType::kQ2_0>();

}  // namespace realm::cuda
