#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels bf16_products = gated_kernels<DType::kBF16>();

}  // namespace realm::cuda
