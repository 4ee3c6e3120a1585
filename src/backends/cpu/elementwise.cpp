#include <cstring>

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
    case Activation::kGelu:
      return ActivationKind::kGelu;
    case Activation::kRelu:
      return ActivationKind::kRelu;
    case Activation::kReluSquared:
      return ActivationKind::kReluSquared;
    case Activation::kSwigluClamped:
      return ActivationKind::kSwigluClamped;
  }
  return ActivationKind::kSilu;
}

}  // namespace

Status run(Context& context, const GatedActivation& op) {
  const bool gated = !op.up.empty();
  const RowWalker gate(op.gate), up(gated ? op.up : op.gate), out(op.out);
  const ActivationKind kind = kind_of(op.activation);
  const int64_t dim = op.gate.last_dim();
  for_row_pieces(context.pool, gate.num_rows(), 2 * dim, [&](int64_t row) {
    context.kernels.gated_activation(kind, gate.row(row), gated ? up.row(row) : nullptr,
                                     out.row(row), dim);
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

Status run(Context& context, const Scale& op) {
  const RowWalker x(op.x), out(op.out);
  const int64_t dim = op.x.last_dim();
  for_row_pieces(context.pool, x.num_rows(), dim, [&](int64_t row) {
    context.kernels.rows.scale_cap(x.row(row), op.scale, op.soft_cap, out.row(row), dim);
  });
  return {};
}

Status run(Context& context, const Copy& op) {
  const RowWalker x(op.x), out(op.out);
  const int64_t dim = op.x.last_dim();
  for_row_pieces(context.pool, x.num_rows(), dim, [&](int64_t row) {
    std::memcpy(out.row(row), x.row(row), static_cast<size_t>(dim) * sizeof(float));
  });
  return {};
}

}  // namespace realm::cpu
