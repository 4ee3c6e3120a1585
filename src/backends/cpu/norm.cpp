#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/rows.h"

namespace realm::cpu {

Status run(Context& context, const RmsNorm& op) {
  const int64_t dim = op.x.last_dim();
  const float* weight = op.weight.as<const float>();
  const RowWalker x(op.x), out(op.out);
  for_row_pieces(context.pool, x.num_rows(), dim, [&](int64_t row) {
    context.kernels.rms_norm(x.row(row), weight, out.row(row), dim, op.eps);
  });
  return {};
}

Status run(Context& context, const LayerNorm& op) {
  const int64_t dim = op.x.last_dim();
  const float* weight = op.weight.as<const float>();  // null where empty
  const float* bias = op.bias.as<const float>();
  const RowWalker x(op.x), out(op.out);
  for_row_pieces(context.pool, x.num_rows(), 2 * dim, [&](int64_t row) {
    context.kernels.rows.layer_norm(x.row(row), weight, bias, out.row(row), dim, op.eps);
  });
  return {};
}

}  // namespace realm::cpu
