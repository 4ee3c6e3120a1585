#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels q8_0_experts = expert_kernels<DType::kQ8_0>();

}  // namespace realm::cuda
