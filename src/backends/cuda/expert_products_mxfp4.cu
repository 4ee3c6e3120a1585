#include "backends/cuda/expert_wgmma.cuh"

namespace realm::cuda {

extern const ExpertKernels mxfp4_experts = expert_kernels<DType::kMXFP4>();

}  // namespace realm::cuda
