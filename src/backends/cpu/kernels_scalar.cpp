// The float kernels compiled for this instruction set; everything is in the .inc.h files.
#define REALM_ISA scalar
#include "backends/cpu/attention.inc.h"
#include "backends/cpu/kernels.inc.h"
#include "backends/cpu/row_kernels.inc.h"

namespace realm::cpu {

const Kernels* scalar_kernels() {
  using namespace scalar;
  static const Kernels kernels = {rms_norm, rope,         gated_activation,  add_rows,
                                  to_f16,   to_q8_0,      kAttentionKernels, kAttentionKernels,
                                  dot_rows, quantize_row, kRowKernels};
  return &kernels;
}

}  // namespace realm::cpu
