#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels iq4_nl_experts = expert_kernels<DType::kIQ4_NL>();
extern const ExpertKernels iq4_xs_experts = expert_kernels<DType::kIQ4_XS>();

}  // namespace realm::cuda
