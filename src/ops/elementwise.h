#pragma once

#include "ops/tensor_view.h"

namespace realm {

enum class Activation {
  kSilu,
  kGeluTanh,
  kGelu,  // with the error function
  kRelu,
  kReluSquared,
  kSwigluClamped,  // gpt-oss: g = min(gate, 7), u = clamp(up, -7, 7): g sigmoid(1.702 g) (u + 1)
};

// out = act(gate) * up, or act(gate) where up is empty. out may be gate or up.
struct GatedActivation {
  TensorView gate, up, out;  // [tokens, dim] F32; tokens may be strided
  Activation activation = Activation::kSilu;

  template <typename F>
  void visit(F&& f) {
    f(gate, false), f(up, false), f(out, true);
  }
};

// out = a + b. out may be a or b; b of rank 1 is added to every row.
struct Add {
  TensorView a, b, out;  // [tokens, dim] F32

  template <typename F>
  void visit(F&& f) {
    f(a, false), f(b, false), f(out, true);
  }
};

// out = y = scale * x, or soft_cap * tanh(y / soft_cap) where soft_cap > 0. out may be x.
struct Scale {
  TensorView x, out;  // [tokens, dim] F32; tokens may be strided
  float scale = 1.0f;
  float soft_cap = 0.0f;

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(out, true);
  }
};

// out = x between strided views that do not overlap.
struct Copy {
  TensorView x, out;  // [tokens, heads, dim] F32; tokens and heads may be strided

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(out, true);
  }
};

}  // namespace realm
