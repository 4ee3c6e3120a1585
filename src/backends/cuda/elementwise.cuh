// The activations of gated feed-forwards, as the definition has them.
#pragma once

#include "ops/elementwise.h"

namespace realm::cuda {

__device__ inline float activate(Activation kind, float x) {
  switch (kind) {
    case Activation::kSilu:
      return x / (1.0f + expf(-x));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    case Activation::kGelu:
      return 0.5f * x * erfcf(-0.7071067811865476f * x);
    case Activation::kRelu:
      return fmaxf(x, 0.0f);
    case Activation::kReluSquared: {
      const float positive = fmaxf(x, 0.0f);
      return positive * positive;
    }
    case Activation::kSwigluClamped: {
      const float gate = fminf(x, 7.0f);
      return gate / (1.0f + expf(-1.702f * gate));
    }
  }
  return 0.0f;
}

// act(gate) * up.
__device__ inline float gate_with(Activation kind, float gate, float up) {
  if (kind == Activation::kSwigluClamped) up = fminf(fmaxf(up, -7.0f), 7.0f) + 1.0f;
  return activate(kind, gate) * up;
}

}  // namespace realm::cuda
