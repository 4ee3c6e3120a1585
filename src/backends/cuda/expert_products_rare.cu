#include "backends/cuda/expert_wgmma.cuh"
#include "backends/cuda/tiles_rare.cuh"

namespace realm::cuda {

extern const ExpertKernels q8_1_experts = expert_kernels<DType::kQ8_1>();
extern const ExpertKernels q8_k_experts = expert_kernels<DType::kQ8_K>();
extern const ExpertKernels nvfp4_experts = expert_kernels<DType::kNVFP4>();
extern const ExpertKernels q1_0_experts = expert_kernels<DType::kQ1_0>();
extern const ExpertKernels q2_0_experts = expert_kernels<DType::kQ2_0>();

}  // namespace realm::cuda
