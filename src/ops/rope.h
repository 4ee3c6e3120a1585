#pragma once

#include "ops/tensor_view.h"

namespace realm {

// Which elements of a head form a rotated pair: (2i, 2i+1), or (i, i + n_rot/2) as in GPT-NeoX.
enum class RopePairs { kAdjacent, kHalves };

// Rotary position embedding (Su et al. 2021), the angles of a step, once for all its layers:
//   out[t, i] = magnitude * cos(positions[t] * inv_freq[i]),  out[t, n/2 + i] = magnitude *
//   sin(...)
// Every scaling rule (linear, YaRN, Llama 3) is a choice of inv_freq and magnitude by the model.
struct RopeTable {
  TensorView positions;  // [tokens] I32
  TensorView inv_freq;   // [n_rot / 2] F32
  TensorView out;        // [tokens, n_rot] F32
  float magnitude = 1.0f;

  template <typename F>
  void visit(F&& f) {
    f(positions, false), f(inv_freq, false), f(out, true);
  }
};

// Rotates the first n_rot elements of every head in place: (a, b) -> (a cos - b sin, a sin + b
// cos).
struct Rope {
  TensorView x;      // [tokens, heads, head_dim] F32, may be strided
  TensorView table;  // [tokens, n_rot] F32, from RopeTable
  RopePairs pairs = RopePairs::kAdjacent;

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(x, true), f(table, false);
  }
};

}  // namespace realm
