#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels q4_k_experts = expert_kernels<DType::kQ4_K>();

}  // namespace realm::cuda
