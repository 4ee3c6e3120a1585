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
#include "ops/backend_wrapper.h"

namespace realm {

class ActivationRecorder final : public BackendWrapper {
 public:
  using BackendWrapper::BackendWrapper;

  Result<TensorView> import_weight(const TensorView& host) override;
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

  std::map<const std::byte*, const std::byte*> imported_from_;  // device address -> host address
  std::map<const std::byte*, Sums> sums_;                       // by device address
  std::vector<std::byte> inputs_;
};

}  // namespace realm
