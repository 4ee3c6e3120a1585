// The list of ops: everything a forward pass is made of. Each op is plain data; a backend provides
// `Status run(Context&, const X&)` for each alternative of Op. Adding one: a header here, a row in
// the variant, its shape check, its cases in cases.cpp, one file per backend (CONTRIBUTING.md).
#pragma once

#include <variant>

#include "base/result.h"
#include "ops/argmax.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/gather.h"
#include "ops/kv_cache.h"
#include "ops/matmul.h"
#include "ops/moe.h"
#include "ops/norm.h"
#include "ops/rope.h"
#include "ops/sample_tokens.h"
#include "ops/top_candidates.h"

namespace realm {

using Op = std::variant<GatherRows, RmsNorm, LayerNorm, MatMul, SelectExperts, ExpertMatMul,
                        CombineExperts, RopeTable, Rope, StoreKv, Attention, GatedActivation, Add,
                        Scale, Copy, CopyPages, ArgMax, TopCandidates, SampleTokens>;

const char* op_name(const Op& op);

// Shapes, types and strides agree. Models build ops from checked hyper-parameters, so an Error here
// is about a file whose tensors do not fit together; the message names the op and the tensor.
Status check_op(const Op& op);

// Calls f(TensorView&, written) for each tensor of the op that is present.
template <typename OpType, typename F>
void for_each_tensor(OpType& op, F&& f) {
  std::visit(
      [&](auto& x) {
        x.visit([&](auto& view, bool written) {
          if (!view.empty()) f(view, written);
        });
      },
      op);
}

}  // namespace realm
