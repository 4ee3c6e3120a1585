#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels bf16_experts = expert_kernels<DType::kBF16>();
extern const ExpertKernels f16_experts = expert_kernels<DType::kF16>();

}  // namespace realm::cuda
