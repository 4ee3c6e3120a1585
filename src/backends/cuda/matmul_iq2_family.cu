#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels iq2_xxs_products = plain_kernels<DType::kIQ2_XXS>();
extern const ProductKernels iq2_xs_products = plain_kernels<DType::kIQ2_XS>();
extern const ProductKernels iq2_s_products = plain_kernels<DType::kIQ2_S>();

}  // namespace realm::cuda
