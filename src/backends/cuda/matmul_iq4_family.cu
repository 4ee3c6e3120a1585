#include "backends/cuda/integer_tables.cuh"
#include "backends/cuda/product_table.cuh"

namespace realm::cuda {

extern const ProductKernels iq4_nl_products =
    integer_kernels<DType::kIQ4_NL>(plane_kernels<DType::kIQ4_NL>());
extern const ProductKernels iq4_xs_products =
    integer_kernels<DType::kIQ4_XS>(plane_kernels<DType::kIQ4_XS>());
extern const ProductKernels mxfp4_products =
    integer_kernels<DType::kMXFP4>(plane_kernels<DType::kMXFP4>());
extern const ProductKernels nvfp4_products =
    integer_kernels<DType::kNVFP4>(plane_kernels<DType::kNVFP4>());

}  // namespace realm::cuda
