#include "ops/backend.h"

namespace realm {
namespace {

// Of backends that gain nothing from knowing the ops beforehand.
class PlainProgram final : public PreparedProgram {
 public:
  PlainProgram(Backend& backend, std::span<const Op> ops)
      : backend_(backend), ops_(ops.begin(), ops.end()) {}
  Status run() override { return backend_.run(ops_); }

 private:
  Backend& backend_;
  std::vector<Op> ops_;
};

}  // namespace

Result<std::unique_ptr<PreparedProgram>> Backend::prepare(std::span<const Op> ops) {
  return std::unique_ptr<PreparedProgram>(std::make_unique<PlainProgram>(*this, ops));
}

Result<Backend::Memory> Backend::memory() const {
  return Error{ErrorCode::kUnsupported, name() + " has no memory of its own"};
}

}  // namespace realm
