#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels tq1_0_experts = expert_kernels<DType::kTQ1_0>();
extern const ExpertKernels tq2_0_experts = expert_kernels<DType::kTQ2_0>();

}  // namespace realm::cuda
