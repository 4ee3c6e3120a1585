#include "backends/cuda/expert_grids.cuh"

namespace realm::cuda {

extern const ExpertKernels iq3_xxs_experts = grid_expert_kernels<DType::kIQ3_XXS>();
extern const ExpertKernels iq3_s_experts = grid_expert_kernels<DType::kIQ3_S>();

}  // namespace realm::cuda
