// A backend that passes everything on to another and, before each matrix product, adds up the
// squares of its inputs per column. Knows weights by the address they were imported from, so it
// needs nothing of the models that build the ops.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "formats/imatrix.h"
#include "formats/tensor_directory.h"
#include "ops/backend.h"

namespace realm {

class ActivationRecorder final : public Backend {
 public:
  explicit ActivationRecorder(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

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
  Result<TensorView> import_weight(const TensorView& host) override;
  Result<std::string> support(const Op& op) const override { return inner_->support(op); }
  Status run(std::span<const Op> ops) override;

  // Records inputs of the tensors of `file` whose name starts with `prefix`, from now on.
  void start(const TensorDirectory& file, const std::string& prefix);
  // What was recorded, by tensor name; tensors that saw no input are left out. Error kBadModel
  // where an input was not finite.
  Result<std::map<std::string, ImportanceEntry, std::less<>>> entries() const;

 private:
  struct Sums {
    std::string name;
    std::vector<double> squares;  // [columns]
    int64_t count = 0;
  };
  Status record(const MatMul& op);

  std::unique_ptr<Backend> inner_;
  std::map<const std::byte*, const std::byte*> imported_from_;  // device address -> host address
  std::map<const std::byte*, Sums> sums_;                       // by device address
  std::vector<std::byte> inputs_;
};

}  // namespace realm
