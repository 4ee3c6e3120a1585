// A backend that counts the multiplications of matrix products on their way to another one: what
// `realm bench` compares with the machine's peak.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "ops/backend.h"

namespace realm {

class ProductCounter final : public Backend {
 public:
  explicit ProductCounter(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string name() const override { return inner_->name(); }
  bool is_host() const override { return inner_->is_host(); }
  Result<Memory> memory() const override { return inner_->memory(); }
  Result<Buffer> allocate(size_t size_bytes) override { return inner_->allocate(size_bytes); }
  Status upload(std::byte* to, std::span<const std::byte> from) override {
    return inner_->upload(to, from);
  }
  Status download(std::span<std::byte> to, const std::byte* from) override {
    return inner_->download(to, from);
  }
  Result<TensorView> import_weight(const TensorView& host) override {
    return inner_->import_weight(host);
  }
  Result<std::string> support(const Op& op) const override { return inner_->support(op); }
  Status run(std::span<const Op> ops) override;
  Result<std::unique_ptr<PreparedProgram>> prepare(std::span<const Op> ops) override;

  // Two for each product, since the last call.
  double take_operations() { return std::exchange(operations_, 0.0); }

 private:
  std::unique_ptr<Backend> inner_;
  double operations_ = 0;
};

}  // namespace realm
