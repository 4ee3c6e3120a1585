#pragma once

#include "ops/tensor_view.h"

namespace realm {

// What choosing a token from a row of logits mostly needs, in a kilobyte in place of the row:
//   values, tokens[1 ..]: the k largest, best first, the lowest index first among equal ones
//   sums[0]: the sum of exp(x - largest) over the row
//   tokens[0]: drawn from the softmax of x * draws[0] (an inverse temperature): the first index at
//     which the running sum of its weights passes draws[1] (in [0, 1)) of them all
//   sums[1]: x at the drawn index
// Where a value of the row is not a finite number its tokens are all -1, its values and sums 0.
struct TopCandidates {
  TensorView x;       // [rows, n] F32
  TensorView draws;   // [rows, 2] F32
  TensorView values;  // [rows, k] F32, k <= kMost and k <= n
  TensorView tokens;  // [rows, 1 + k] I32
  TensorView sums;    // [rows, 2] F32

  static constexpr int64_t kMost = 128;

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(draws, false), f(values, true), f(tokens, true), f(sums, true);
  }
};

}  // namespace realm
