#include "backends/cuda/matmul_fp8.cuh"

namespace realm::cuda {

extern const Fp8Kernels fp8_q8_0 = gated_fp8_kernels<DType::kQ8_0>();

}  // namespace realm::cuda
