// Finds a type's kernels.
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/matmul.cuh"

namespace realm::cuda {

extern const ProductKernels f16_products;
extern const ProductKernels q4_0_products;
extern const ProductKernels q4_1_products;
extern const ProductKernels q5_0_products;
extern const ProductKernels q5_1_products;
extern const ProductKernels q8_0_products;
extern const ProductKernels q8_1_products;
extern const ProductKernels q2_k_products;
extern const ProductKernels q3_k_products;
extern const ProductKernels q4_k_products;
extern const ProductKernels q5_k_products;
extern const ProductKernels q6_k_products;
extern const ProductKernels q8_k_products;
extern const ProductKernels iq2_xxs_products;
extern const ProductKernels iq2_xs_products;
extern const ProductKernels iq3_xxs_products;
extern const ProductKernels iq1_s_products;
extern const ProductKernels iq4_nl_products;
extern const ProductKernels iq3_s_products;
extern const ProductKernels iq2_s_products;
extern const ProductKernels iq4_xs_products;
extern const ProductKernels iq1_m_products;
extern const ProductKernels bf16_products;
extern const ProductKernels tq1_0_products;
extern const ProductKernels tq2_0_products;
extern const ProductKernels mxfp4_products;
extern const ProductKernels nvfp4_products;
extern const ProductKernels q1_0_products;
extern const ProductKernels q2_0_products;

extern const ProductKernels half_f16;
extern const ProductKernels half_q4_0;
extern const ProductKernels half_q4_1;
extern const ProductKernels half_q5_0;
extern const ProductKernels half_q5_1;
extern const ProductKernels half_q8_0;
extern const ProductKernels half_q8_1;
extern const ProductKernels half_q2_k;
extern const ProductKernels half_q3_k;
extern const ProductKernels half_q4_k;
extern const ProductKernels half_q5_k;
extern const ProductKernels half_q6_k;
extern const ProductKernels half_q8_k;
extern const ProductKernels half_iq2_xxs;
extern const ProductKernels half_iq2_xs;
extern const ProductKernels half_iq3_xxs;
extern const ProductKernels half_iq1_s;
extern const ProductKernels half_iq4_nl;
extern const ProductKernels half_iq3_s;
extern const ProductKernels half_iq2_s;
extern const ProductKernels half_iq4_xs;
extern const ProductKernels half_iq1_m;
extern const ProductKernels half_bf16;
extern const ProductKernels half_tq1_0;
extern const ProductKernels half_tq2_0;
extern const ProductKernels half_mxfp4;
extern const ProductKernels half_nvfp4;
extern const ProductKernels half_q1_0;
extern const ProductKernels half_q2_0;

namespace {

const ProductKernels* const kTable[] = {
    &f16_products,     &q4_0_products,  &q4_1_products,   &q5_0_products,    &q5_1_products,
    &q8_0_products,    &q8_1_products,  &q2_k_products,   &q3_k_products,    &q4_k_products,
    &q5_k_products,    &q6_k_products,  &q8_k_products,   &iq2_xxs_products, &iq2_xs_products,
    &iq3_xxs_products, &iq1_s_products, &iq4_nl_products, &iq3_s_products,   &iq2_s_products,
    &iq4_xs_products,  &iq1_m_products, &bf16_products,   &tq1_0_products,   &tq2_0_products,
    &mxfp4_products,   &nvfp4_products, &q1_0_products,   &q2_0_products,
};

// In half precision.
const ProductKernels* const kHalfTable[] = {
    &half_f16,   &half_q4_0,    &half_q4_1,   &half_q5_0,    &half_q5_1,  &half_q8_0,
    &half_q8_1,  &half_q2_k,    &half_q3_k,   &half_q4_k,    &half_q5_k,  &half_q6_k,
    &half_q8_k,  &half_iq2_xxs, &half_iq2_xs, &half_iq3_xxs, &half_iq1_s, &half_iq4_nl,
    &half_iq3_s, &half_iq2_s,   &half_iq4_xs, &half_iq1_m,   &half_bf16,  &half_tq1_0,
    &half_tq2_0, &half_mxfp4,   &half_nvfp4,  &half_q1_0,    &half_q2_0,
};

}  // namespace

const ProductKernels* find_product_kernels(const Context& context, DType type) {
  for (const ProductKernels* row : context.compute == Compute::kFp16 ? kHalfTable : kTable) {
    if (row->type == type) return row;
  }
  return nullptr;
}

}  // namespace realm::cuda
