#include "app/product_counter.h"

#include <variant>

namespace realm {
namespace {

double operations_of(const MatMul& op) {
  double rows = 0;
  for (int p = 0; p < op.num_parts; ++p) rows += static_cast<double>(op.parts[p].weight.dim(0));
  return 2.0 * rows * static_cast<double>(op.x.dim(0) * op.x.dim(1));
}

double operations_of(const ExpertMatMul& op) {
  double rows = 0;
  for (int p = 0; p < op.num_parts; ++p) rows += static_cast<double>(op.parts[p].weight.dim(1));
  return 2.0 * rows * static_cast<double>(op.x.dim(0) * op.parts[0].out.dim(1) * op.x.dim(2));
}

}  // namespace

Status ProductCounter::run(std::span<const Op> ops) {
  for (const Op& op : ops) {
    if (const auto* product = std::get_if<MatMul>(&op)) operations_ += operations_of(*product);
    if (const auto* product = std::get_if<ExpertMatMul>(&op))
      operations_ += operations_of(*product);
  }
  return inner_->run(ops);
}

}  // namespace realm
