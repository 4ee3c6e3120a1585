#include "backends/cuda/expert_grids.cuh"

namespace realm::cuda {

extern const ExpertKernels iq2_xxs_experts = grid_expert_kernels<DType::kIQ2_XXS>();
extern const ExpertKernels iq2_xs_experts = grid_expert_kernels<DType::kIQ2_XS>();
extern const ExpertKernels iq2_s_experts = grid_expert_kernels<DType::kIQ2_S>();

}  // namespace realm::cuda
