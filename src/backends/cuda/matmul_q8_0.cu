#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels q8_0_products =
    integer_kernels<DType::kQ8_0>(gated_kernels<DType::kQ8_0>());

}  // namespace realm::cuda
