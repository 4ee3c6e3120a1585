#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels bf16_products = tiled_kernels<DType::kBF16>();

}  // namespace realm::cuda
