#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels q6_k_products = tiled_kernels<DType::kQ6_K>();

}  // namespace realm::cuda
