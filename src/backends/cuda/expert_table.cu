// Finds a type's kernels.
#include "backends/cuda/experts.cuh"

namespace realm::cuda {

extern const ExpertKernels f16_experts;
extern const ExpertKernels bf16_experts;
extern const ExpertKernels q4_0_experts;
extern const ExpertKernels q4_1_experts;
extern const ExpertKernels q5_0_experts;
extern const ExpertKernels q5_1_experts;
extern const ExpertKernels q8_0_experts;
extern const ExpertKernels q2_k_experts;
extern const ExpertKernels q3_k_experts;
extern const ExpertKernels q4_k_experts;
extern const ExpertKernels q5_k_experts;
extern const ExpertKernels q6_k_experts;
extern const ExpertKernels tq1_0_experts;
extern const ExpertKernels tq2_0_experts;
extern const ExpertKernels iq4_nl_experts;
extern const ExpertKernels iq4_xs_experts;
extern const ExpertKernels mxfp4_experts;
extern const ExpertKernels iq2_xxs_experts;
extern const ExpertKernels iq2_xs_experts;
extern const ExpertKernels iq2_s_experts;
extern const ExpertKernels iq3_xxs_experts;
extern const ExpertKernels iq3_s_experts;
extern const ExpertKernels iq1_s_experts;
extern const ExpertKernels iq1_m_experts;
extern const ExpertKernels q8_1_experts;
extern const ExpertKernels q8_k_experts;
extern const ExpertKernels nvfp4_experts;
extern const ExpertKernels q1_0_experts;
extern const ExpertKernels q2_0_experts;

const ExpertKernels* find_expert_kernels(DType type) {
  for (const ExpertKernels* row :
       {&f16_experts,     &bf16_experts,  &q4_0_experts,    &q4_1_experts,   &q5_0_experts,
        &q5_1_experts,    &q8_0_experts,  &q2_k_experts,    &q3_k_experts,   &q4_k_experts,
        &q5_k_experts,    &q6_k_experts,  &tq1_0_experts,   &tq2_0_experts,  &iq4_nl_experts,
        &iq4_xs_experts,  &mxfp4_experts, &iq2_xxs_experts, &iq2_xs_experts, &iq2_s_experts,
        &iq3_xxs_experts, &iq3_s_experts, &iq1_s_experts,   &iq1_m_experts,  &q8_1_experts,
        &q8_k_experts,    &nvfp4_experts, &q1_0_experts,    &q2_0_experts}) {
    if (row->type == type) return row;
  }
  return nullptr;
}

}  // namespace realm::cuda
