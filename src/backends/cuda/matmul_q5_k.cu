#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels q5_k_products =
    integer_kernels<DType::kQ5_K>(tiled_kernels<DType::kQ5_K>());

}  // namespace realm::cuda
