#pragma once

#include "ops/tensor_view.h"

namespace realm {

// out[p][t, r] = sum_k x[t, k] * weight[p][r, k] (+ bias[p][r]) (+ out[p][t, r] if accumulate).
// Up to three weights share one x (q, k, v; gate, up), whose quantization is then done once.
//
// The arithmetic is part of the contract (matmul_arithmetic.h): for a given weight type each output
// is one fixed sequence of float operations, whatever the number of tokens, threads or the
// instruction set, so that a token's result does not depend on what else is in the batch.
struct MatMul {
  static constexpr int kMaxParts = 3;
  struct Part {
    TensorView weight;  // [rows, k], any dtype
    TensorView bias;    // [rows] F32, or empty
    TensorView out;     // [tokens, rows] F32, rows contiguous; tokens may be strided
  };
  TensorView x;  // [tokens, k] F32
  int num_parts = 1;
  Part parts[kMaxParts];
  bool accumulate = false;

  template <typename F>
  void visit(F&& f) {
    f(x, false);
    for (int i = 0; i < num_parts; ++i) {
      f(parts[i].weight, false), f(parts[i].bias, false);
      if (accumulate) f(parts[i].out, false);
      f(parts[i].out, true);
    }
  }
};

}  // namespace realm
