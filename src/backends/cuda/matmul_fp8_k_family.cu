#include "backends/cuda/matmul_fp8.cuh"
#include "backends/cuda/tiles_planes.cuh"

namespace realm::cuda {

extern const Fp8Kernels fp8_q2_k = fp8_kernels<DType::kQ2_K>();
extern const Fp8Kernels fp8_q3_k = fp8_kernels<DType::kQ3_K>();
extern const Fp8Kernels fp8_q5_k = fp8_kernels<DType::kQ5_K>();

}  // namespace realm::cuda
