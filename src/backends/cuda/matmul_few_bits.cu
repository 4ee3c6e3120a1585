#include "backends/cuda/product_table.cuh"
#include "backends/cuda/tiles_rare.cuh"

namespace realm::cuda {

extern const ProductKernels tq1_0_products = plane_kernels<DType::kTQ1_0>();
extern const ProductKernels tq2_0_products = plane_kernels<DType::kTQ2_0>();
extern const ProductKernels q1_0_products = plane_kernels<DType::kQ1_0>();
extern const ProductKernels q2_0_products = plane_kernels<DType::kQ2_0>();

}  // namespace realm::cuda
