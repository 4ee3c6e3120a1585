#pragma once

#include "ops/tensor_view.h"

namespace realm {

enum class Activation { kSilu, kGeluTanh, kRelu, kReluSquared };

// out = act(gate) * up. out may be gate or up.
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

}  // namespace realm
