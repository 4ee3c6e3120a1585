#include "backends/cuda/matmul_fp8.cuh"
#include "backends/cuda/tiles_planes.cuh"

namespace realm::cuda {

extern const Fp8Kernels fp8_iq4_nl = fp8_kernels<DType::kIQ4_NL>();
extern const Fp8Kernels fp8_iq4_xs = fp8_kernels<DType::kIQ4_XS>();
extern const Fp8Kernels fp8_mxfp4 = fp8_kernels<DType::kMXFP4>();
extern const Fp8Kernels fp8_tq1_0 = fp8_kernels<DType::kTQ1_0>();
extern const Fp8Kernels fp8_tq2_0 = fp8_kernels<DType::kTQ2_0>();

}  // namespace realm::cuda
