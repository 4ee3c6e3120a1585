#include "backends/cuda/product_grids.cuh"

namespace realm::cuda {

extern const ProductKernels iq2_xxs_products = grid_kernels<DType::kIQ2_XXS>();
extern const ProductKernels iq2_xs_products = grid_kernels<DType::kIQ2_XS>();
extern const ProductKernels iq2_s_products = grid_kernels<DType::kIQ2_S>();

}  // namespace realm::cuda
