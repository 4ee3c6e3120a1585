#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels q6_k_products =
    integer_kernels<DType::kQ6_K>(tiled_kernels<DType::kQ6_K>());

}  // namespace realm::cuda
