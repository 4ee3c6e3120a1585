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

double operations_of(std::span<const Op> ops) {
  double sum = 0;
  for (const Op& op : ops) {
    if (const auto* product = std::get_if<MatMul>(&op)) sum += operations_of(*product);
    if (const auto* product = std::get_if<ExpertMatMul>(&op)) sum += operations_of(*product);
  }
  return sum;
}

// The other backend's program, counted each time that it runs.
class CountedProgram final : public PreparedProgram {
 public:
  CountedProgram(std::unique_ptr<PreparedProgram> inner, double operations, double& total)
      : inner_(std::move(inner)), operations_(operations), total_(total) {}
  Status run() override {
    total_ += operations_;
    return inner_->run();
  }

 private:
  std::unique_ptr<PreparedProgram> inner_;
  double operations_;
  double& total_;
};

}  // namespace

Status ProductCounter::run(std::span<const Op> ops) {
  operations_ += operations_of(ops);
  return inner_->run(ops);
}

Result<std::unique_ptr<PreparedProgram>> ProductCounter::prepare(std::span<const Op> ops) {
  std::unique_ptr<PreparedProgram> inner = TRY(inner_->prepare(ops));
  return std::unique_ptr<PreparedProgram>(
      std::make_unique<CountedProgram>(std::move(inner), operations_of(ops), operations_));
}

}  // namespace realm
