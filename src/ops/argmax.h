#pragma once

#include "ops/tensor_view.h"

namespace realm {

// out[r] = the index of the largest x[r, i], the lowest of equal ones; -1 where a value of the row
// is not a finite number. Greedy decoding, so that logits need not leave the device.
struct ArgMax {
  TensorView x;    // [rows, n] F32
  TensorView out;  // [rows] I32

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(out, true);
  }
};

}  // namespace realm
