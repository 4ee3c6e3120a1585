#include "backends/cuda/product_table.cuh"
#include "backends/cuda/tiles_rare.cuh"

namespace realm::cuda {

extern const ProductKernels q2_k_products = plane_kernels<DType::kQ2_K>();
extern const ProductKernels q3_k_products = plane_kernels<DType::kQ3_K>();
extern const ProductKernels q8_k_products = plane_kernels<DType::kQ8_K>();

}  // namespace realm::cuda
