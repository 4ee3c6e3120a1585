#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/rows.h"

namespace realm::cpu {
namespace {

ActivationKind kind_of(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return ActivationKind::kSilu;
    case Activation::kGeluTanh:
      return ActivationKind::kGeluTanh;
    case Activation::kRelu:
      return ActivationKind::kRelu;
    case Activation::kReluSquared:
      return ActivationKind::kReluSquared;
  }
  return ActivationKind::kSilu;
}

}  // namespace

Status run(Context& context, const GatedActivation& op) {
  const RowWalker gate(op.gate), up(op.up), out(op.out);
  const ActivationKind kind = kind_of(op.activation);
  const int64_t dim = op.gate.last_dim();
  for_row_pieces(context.pool, gate.num_rows(), 2 * dim, [&](int64_t row) {
    context.kernels.gated_activation(kind, gate.row(row), up.row(row), out.row(row), dim);
  });
  return {};
}

Status run(Context& context, const Add& op) {
  const RowWalker a(op.a), b(op.b), out(op.out);
  const int64_t dim = op.a.last_dim();
  const bool broadcast = op.b.rank == 1;
  for_row_pieces(context.pool, a.num_rows(), dim, [&](int64_t row) {
    context.kernels.add(a.row(row), b.row(broadcast ? 0 : row), out.row(row), dim);
  });
  return {};
}

}  // namespace realm::cpu
