#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels q4_0_products =
    integer_kernels<DType::kQ4_0>(tiled_kernels<DType::kQ4_0>());

}  // namespace realm::cuda
