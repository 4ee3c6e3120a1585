#pragma once

#include "ops/tensor_view.h"

namespace realm {

// Chooses a token for each row of logits by the chain of samplers that the row asks for, over the
// whole vocabulary; ops/sample_row.h says how a row asks and what each sampler does. A row that
// asks for nothing gets token -1.
struct SampleTokens {
  TensorView x;         // [rows, n] F32, logits
  TensorView values;    // [rows, k] F32: values, tokens and sums are TopCandidates' of x, by which
  TensorView tokens;    // [rows, 1 + k] I32: most rows can be decided alone
  TensorView sums;      // [rows, 2] F32
  TensorView settings;  // [rows, SampleRow::kWords] I32: a SampleRow each
  TensorView changes;   // [m, 2] I32: LogitChange, the rows' own ranges
  TensorView work;      // [rows, n] F32: what it holds afterwards is of no use
  TensorView chosen;    // [rows] I32; -2: bias left no token
  TensorView facts;     // [rows, 2] F32: x at the chosen token, and its surprise in bits among the
                        // candidates that were left

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(values, false), f(tokens, false), f(sums, false), f(settings, false);
    f(changes, false), f(work, true), f(chosen, true), f(facts, true);
  }
};

}  // namespace realm
