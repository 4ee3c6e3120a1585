#include "backends/cuda/product_table.cuh"
#include "backends/cuda/tiles_rare.cuh"

namespace realm::cuda {

extern const ProductKernels iq4_nl_products = plane_kernels<DType::kIQ4_NL>();
extern const ProductKernels iq4_xs_products = plane_kernels<DType::kIQ4_XS>();
extern const ProductKernels mxfp4_products = plane_kernels<DType::kMXFP4>();
extern const ProductKernels nvfp4_products = plane_kernels<DType::kNVFP4>();

}  // namespace realm::cuda
