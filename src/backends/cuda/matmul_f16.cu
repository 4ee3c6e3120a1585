#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels f16_products = gated_kernels<DType::kF16>();

}  // namespace realm::cuda
