// A forward pass as data: the ops in order, and the scratch memory they need. A model appends ops
// to a ProgramBuilder; tensors made by it live at made-up addresses until place() packs those whose
// lifetimes do not overlap into one scratch buffer. The same builder serves the dry run at load
// (how much scratch does the largest step need?) and every later step.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "base/result.h"
#include "ops/op.h"

namespace realm {

struct Program {
  std::vector<Op> ops;
  size_t scratch_bytes = 0;
};

class ProgramBuilder {
 public:
  // A scratch tensor, alive from the op that first writes it to the last that names it.
  TensorView scratch(std::initializer_list<int64_t> shape, DType dtype = DType::kF32);
  // Appends after checking shapes; the first Error is kept and returned by finish().
  void add(Op op);

  // Assigns every scratch tensor its offset. The program's views then hold offsets relative to
  // scratch base `base`; with base null only scratch_bytes is of use.
  Result<Program> finish();

  // The same program with scratch placed at `base`.
  static void place(Program& program, std::byte* base);

 private:
  struct Range {
    uintptr_t begin;
    size_t size;
    int64_t first_op = -1;
    int64_t last_op = -1;
    size_t offset = 0;
  };
  Range* find(const TensorView& view);

  std::vector<Op> ops_;
  std::vector<Range> ranges_;
  uintptr_t next_ = kFirstAddress;
  Status status_;

  // Canonical user addresses end at 2^57 at most, so these collide with nothing real.
  static constexpr uintptr_t kFirstAddress = uintptr_t{1} << 60;
  static constexpr uintptr_t kPlacedAddress = uintptr_t{1} << 59;
};

}  // namespace realm
