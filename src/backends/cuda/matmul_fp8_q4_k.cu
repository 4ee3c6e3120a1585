#include "backends/cuda/matmul_fp8.cuh"
#include "backends/cuda/tiles_planes.cuh"

namespace realm::cuda {

extern const Fp8Kernels fp8_q4_k = gated_fp8_kernels<DType::kQ4_K>();
extern const Fp8Kernels fp8_q6_k = fp8_kernels<DType::kQ6_K>();

}  // namespace realm::cuda
