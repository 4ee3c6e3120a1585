#include "backends/cuda/product_table.cuh"
#include "backends/cuda/tiles_rare.cuh"

namespace realm::cuda {

extern const ProductKernels q4_1_products = plane_kernels<DType::kQ4_1>();
extern const ProductKernels q5_0_products = plane_kernels<DType::kQ5_0>();
extern const ProductKernels q5_1_products = plane_kernels<DType::kQ5_1>();
extern const ProductKernels q8_1_products = plane_kernels<DType::kQ8_1>();

}  // namespace realm::cuda
