// Runs a case on a backend and compares two backends' results.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "ops/backend.h"
#include "ops/cases.h"

namespace realm {

// A case placed in a backend's memory, ready to run any number of times.
class PlacedCase {
 public:
  // The backend and the case outlive this object.
  static Result<PlacedCase> place(const OpCase& op_case, Backend& backend);

  const Op& op() const { return op_; }
  Status run() { return backend_->run({&op_, 1}); }
  // The bytes of each tensor as they are now, in the case's order; weights, which no op writes,
  // are left empty.
  Result<std::vector<std::vector<std::byte>>> download() const;

 private:
  PlacedCase(const OpCase& op_case, Backend& backend) : case_(&op_case), backend_(&backend) {}

  const OpCase* case_;
  Backend* backend_;
  Op op_;
  std::vector<Buffer> buffers_;
  std::vector<std::byte*> addresses_;            // by tensor
  std::vector<std::vector<std::byte>> weights_;  // host memory of imported weights
};

// The tensors after one run.
Result<std::vector<std::vector<std::byte>>> run_case(const OpCase& op_case, Backend& backend);

// What is wrong with `actual`, in a sentence; nothing where it is right. With tolerance 0 the bytes
// have to be equal; else each value of a written tensor may differ from the expected one by
// tolerance times the root mean square of the tensor, memory that an op only works in excepted. In
// both cases bytes that belong to no written
// view (inputs, gaps between strided rows) have to be what they were.
std::optional<std::string> find_difference(const OpCase& op_case,
                                           const std::vector<std::vector<std::byte>>& expected,
                                           const std::vector<std::vector<std::byte>>& actual,
                                           double tolerance);

}  // namespace realm
