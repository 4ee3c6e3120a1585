#pragma once

#include "ops/tensor_view.h"

namespace realm {

// out = x / sqrt(mean(x^2) + eps) * weight over the innermost dimension (Zhang & Sennrich 2019).
// x may be strided in the outer dimensions (per-head norms of q and k); out may be x.
struct RmsNorm {
  TensorView x;       // [..., dim] F32
  TensorView weight;  // [dim] F32
  TensorView out;     // shape of x
  float eps = 1e-5f;

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(weight, false), f(out, true);
  }
};

// out = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias over the innermost
// dimension (Ba et al. 2016). x may be strided in the outer dimensions; out may be x.
struct LayerNorm {
  TensorView x;       // [..., dim] F32
  TensorView weight;  // [dim] F32, or empty: ones
  TensorView bias;    // [dim] F32, or empty: zeros
  TensorView out;     // shape of x
  float eps = 1e-5f;

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(weight, false), f(bias, false), f(out, true);
  }
};

}  // namespace realm
