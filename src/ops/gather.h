#pragma once

#include "ops/tensor_view.h"

namespace realm {

// out[i] = scale * table[ids[i]], decoded to float. Token embeddings, and picking the rows of a
// batch whose logits are wanted.
struct GatherRows {
  TensorView table;  // [rows, dim], any dtype
  TensorView ids;    // [n] I32, each in [0, rows)
  TensorView out;    // [n, dim] F32
  float scale = 1.0f;

  template <typename F>
  void visit(F&& f) {
    f(table, false), f(ids, false), f(out, true);
  }
};

}  // namespace realm
