#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels q5_0_experts = expert_kernels<DType::kQ5_0>();
extern const ExpertKernels q5_1_experts = expert_kernels<DType::kQ5_1>();

}  // namespace realm::cuda
