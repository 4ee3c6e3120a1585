#include "backends/cuda/product_grids.cuh"

namespace realm::cuda {

extern const ProductKernels iq3_xxs_products = grid_kernels<DType::kIQ3_XXS>();
extern const ProductKernels iq3_s_products = grid_kernels<DType::kIQ3_S>();
extern const ProductKernels iq1_s_products = grid_kernels<DType::kIQ1_S>();
extern const ProductKernels iq1_m_products = grid_kernels<DType::kIQ1_M>();

}  // namespace realm::cuda
