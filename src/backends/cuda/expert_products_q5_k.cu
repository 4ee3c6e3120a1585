#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels q5_k_experts = expert_kernels<DType::kQ5_K>();

}  // namespace realm::cuda
