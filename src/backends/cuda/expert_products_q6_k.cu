#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels q6_k_experts = expert_kernels<DType::kQ6_K>();

}  // namespace realm::cuda
