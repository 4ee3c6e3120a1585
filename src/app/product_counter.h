// A backend that counts the multiplications of matrix products on their way to another one: what
// `realm bench` compares with the machine's peak.
#pragma once

#include <memory>
#include <utility>

#include "ops/backend_wrapper.h"

namespace realm {

class ProductCounter final : public BackendWrapper {
 public:
  using BackendWrapper::BackendWrapper;

  Status run(std::span<const Op> ops) override;
  Result<std::unique_ptr<PreparedProgram>> prepare(std::span<const Op> ops) override;

  // Two for each product, since the last call.
  double take_operations() { return std::exchange(operations_, 0.0); }

 private:
  double operations_ = 0;
};

}  // namespace realm
