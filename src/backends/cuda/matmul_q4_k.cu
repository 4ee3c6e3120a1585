#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels q4_k_products =
    integer_kernels<DType::kQ4_K>(gated_kernels<DType::kQ4_K>());

}  // namespace realm::cuda
