#include "backends/cuda/matmul_fp8.cuh"

namespace realm::cuda {

extern const Fp8Kernels fp8_bf16 = gated_fp8_kernels<DType::kBF16>();
extern const Fp8Kernels fp8_f16 = gated_fp8_kernels<DType::kF16>();

}  // namespace realm::cuda
