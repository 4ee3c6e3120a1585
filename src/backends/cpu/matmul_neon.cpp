// The NEON matrix product's table. Its name gives it the flags of the kernels, which it does not
// need.
#include "backends/cpu/matmul_neon.h"

namespace realm::cpu {

const MatMulKernels* neon_matmul_kernels() {
  static const MatMulKernels kernels = {
      .dot = neon::dot,
      .panel = neon::panel,
      .scratch_bytes = neon::panel_scratch_bytes,
      .panel_from = [](DType) { return int64_t{4}; },
      .token_layout = [](DType, int) -> const TokenLayout* { return nullptr; },
      .activation_group = [](const BlockFormat& format, int64_t) { return block_group(format); },
      .float_panel = [](DType) -> const FloatPanel* { return nullptr; },
  };
  return &kernels;
}

}  // namespace realm::cpu
