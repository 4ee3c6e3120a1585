// Finds a type's kernels.
#include <algorithm>

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

namespace {

const ProductKernels* const kTable[] = {
    &f16_products,     &q4_0_products,  &q4_1_products,   &q5_0_products,    &q5_1_products,
    &q8_0_products,    &q8_1_products,  &q2_k_products,   &q3_k_products,    &q4_k_products,
    &q5_k_products,    &q6_k_products,  &q8_k_products,   &iq2_xxs_products, &iq2_xs_products,
    &iq3_xxs_products, &iq1_s_products, &iq4_nl_products, &iq3_s_products,   &iq2_s_products,
    &iq4_xs_products,  &iq1_m_products, &bf16_products,   &tq1_0_products,   &tq2_0_products,
    &mxfp4_products,   &nvfp4_products, &q1_0_products,   &q2_0_products,
};

}  // namespace

const ProductKernels* find_product_kernels(DType type) {
  const auto* const* found = std::find_if(std::begin(kTable), std::end(kTable),
                                          [&](const auto* row) { return row->type == type; });
  return found == std::end(kTable) ? nullptr : *found;
}

}  // namespace realm::cuda
