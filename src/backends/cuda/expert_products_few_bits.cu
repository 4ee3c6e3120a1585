#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels q2_k_experts = expert_kernels<DType::kQ2_K>();
extern const ExpertKernels q3_k_experts = expert_kernels<DType::kQ3_K>();

}  // namespace realm::cuda
