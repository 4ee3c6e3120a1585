#include <cmath>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/rows.h"

namespace realm::cpu {

Status run(Context& context, const RopeTable& op) {
  const int64_t half = op.inv_freq.dim(0);
  const float* inv_freq = op.inv_freq.as<const float>();
  const int32_t* positions = op.positions.as<const int32_t>();
  for_row_pieces(context.pool, op.positions.dim(0), 64 * half, [&](int64_t t) {
    float* out = reinterpret_cast<float*>(op.out.data + t * op.out.stride[0]);
    for (int64_t i = 0; i < half; ++i) {
      // The angle is a float product, as in the models' training code; its sine is then exact.
      const double angle = static_cast<float>(positions[t]) * inv_freq[i];
      out[i] = static_cast<float>(std::cos(angle)) * op.magnitude;
      out[half + i] = static_cast<float>(std::sin(angle)) * op.magnitude;
    }
  });
  return {};
}

Status run(Context& context, const Rope& op) {
  const int64_t heads = op.x.dim(1), n_rot = op.table.dim(1);
  const RowWalker x(op.x);
  for_row_pieces(context.pool, x.num_rows(), 2 * n_rot, [&](int64_t row) {
    const auto* table =
        reinterpret_cast<const float*>(op.table.data + row / heads * op.table.stride[0]);
    context.kernels.rope(x.row(row), table, n_rot, op.pairs == RopePairs::kAdjacent);
  });
  return {};
}

}  // namespace realm::cpu
