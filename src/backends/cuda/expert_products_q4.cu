#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels q4_0_experts = expert_kernels<DType::kQ4_0>();
extern const ExpertKernels q4_1_experts = expert_kernels<DType::kQ4_1>();

}  // namespace realm::cuda
