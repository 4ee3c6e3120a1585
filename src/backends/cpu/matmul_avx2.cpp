// The AVX2 matrix product's table.
#include "backends/cpu/matmul_avx2.h"

namespace realm::cpu {
namespace {

// Measured; below, the sums over a row's lanes cost less than unpacking a panel.
int64_t panel_from(DType) {
  return 4;
}

}  // namespace

const MatMulKernels* avx2_matmul_kernels() {
  static const MatMulKernels kernels = {
      .dot = avx2::dot,
      .panel = avx2::panel,
      .scratch_bytes = avx2::panel_scratch_bytes,
      .panel_from = panel_from,
  };
  return &kernels;
}

}  // namespace realm::cpu
