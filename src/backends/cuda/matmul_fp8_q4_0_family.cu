#include "backends/cuda/matmul_fp8.cuh"
#include "backends/cuda/tiles_planes.cuh"

namespace realm::cuda {

extern const Fp8Kernels fp8_q4_0 = fp8_kernels<DType::kQ4_0>();
extern const Fp8Kernels fp8_q4_1 = fp8_kernels<DType::kQ4_1>();
extern const Fp8Kernels fp8_q5_0 = fp8_kernels<DType::kQ5_0>();
extern const Fp8Kernels fp8_q5_1 = fp8_kernels<DType::kQ5_1>();

}  // namespace realm::cuda
