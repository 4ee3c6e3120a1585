#include "backends/cuda/expert_grids.cuh"

namespace realm::cuda {

extern const ExpertKernels iq1_s_experts = grid_expert_kernels<DType::kIQ1_S>();
extern const ExpertKernels iq1_m_experts = grid_expert_kernels<DType::kIQ1_M>();

}  // namespace realm::cuda
