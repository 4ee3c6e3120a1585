// The AVX2 matrix product's table. Its name gives it the flags of the kernels, which it does not
// need.
#include "backends/cpu/matmul_avx2.h"

namespace realm::cpu {

const MatMulKernels* avx2_matmul_kernels() {
  static const MatMulKernels kernels = {
      .dot = avx2::dot,
      .panel = avx2::panel,
      .scratch_bytes = avx2::panel_scratch_bytes,
      .panel_from = [](DType type) { return avx2::panel_from(*find_block_format(type)); },
      .token_layout = [](DType type, int) { return avx2::panel_layout(*find_block_format(type)); },
      .activation_group = [](const BlockFormat& format, int64_t) { return block_group(format); },
      .float_panel = [](DType) { return avx2::float_panel(); },
  };
  return &kernels;
}

}  // namespace realm::cpu
