// Mixture of experts on the CPU: choosing, the products of tokens grouped by expert, the sum.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/rows.h"

namespace realm::cpu {
namespace {

// Keeps the experts of the best groups; those of the others become `taken`.
void choose_groups(const SelectExperts& op, const float* choice, float* group_scores, bool* taken) {
  const int64_t size = op.logits.dim(1) / op.num_groups;
  for (int64_t g = 0; g < op.num_groups; ++g) {
    const float* c = choice + g * size;
    float first = c[0], second = -INFINITY;
    for (int64_t i = 1; i < size; ++i) {
      if (c[i] > first) {
        second = first;
        first = c[i];
      } else if (c[i] > second) {
        second = c[i];
      }
    }
    const bool sum = op.group_score == GroupScore::kSumOfTopTwo && size > 1;
    group_scores[g] = sum ? first + second : first;
  }
  std::fill(taken, taken + op.logits.dim(1), true);
  for (int64_t n = 0; n < op.num_groups_used; ++n) {
    int64_t best = -1;
    for (int64_t g = 0; g < op.num_groups; ++g) {
      if (!taken[g * size]) continue;
      if (best < 0 || group_scores[g] > group_scores[best]) best = g;
    }
    std::fill(taken + best * size, taken + (best + 1) * size, false);
  }
}

void select_for_token(const Kernels& kernels, const SelectExperts& op, int64_t token,
                      std::byte* scratch) {
  const int64_t experts = op.logits.dim(1), used = op.ids.dim(1);
  const auto* logits = reinterpret_cast<const float*>(op.logits.data + token * op.logits.stride[0]);
  float* scores = reinterpret_cast<float*>(scratch);
  float* choice = scores + experts;
  float* group_scores = choice + experts;
  bool* taken = reinterpret_cast<bool*>(group_scores + op.num_groups);
  if (op.score == RouterScore::kSoftmax) {
    kernels.rows.softmax(logits, scores, experts);
  } else if (op.score == RouterScore::kSigmoid) {
    kernels.rows.sigmoid(logits, scores, experts);
  } else {
    std::copy(logits, logits + experts, scores);
  }
  std::copy(scores, scores + experts, choice);
  if (!op.bias.empty()) kernels.add(scores, op.bias.as<const float>(), choice, experts);
  std::fill(taken, taken + experts, false);
  if (op.num_groups_used < op.num_groups) choose_groups(op, choice, group_scores, taken);

  int32_t* ids = op.ids.as<int32_t>() + token * used;
  float* weights = op.weights.as<float>() + token * used;
  for (int64_t j = 0; j < used; ++j) {
    int64_t best = -1;
    for (int64_t e = 0; e < experts; ++e) {
      if (taken[e]) continue;
      if (best < 0 || choice[e] > choice[best]) best = e;
    }
    taken[best] = true;
    ids[j] = static_cast<int32_t>(best);
    weights[j] = scores[best];
  }
  if (op.score == RouterScore::kSoftmaxOfChosen) kernels.rows.softmax(weights, weights, used);
  float divisor = 1.0f;
  if (op.normalize) {
    float sum = 0.0f;
    for (int64_t j = 0; j < used; ++j) sum += weights[j];
    if (sum > 0.0f) divisor = sum;
  }
  for (int64_t j = 0; j < used; ++j) weights[j] = weights[j] / divisor * op.scale;
}

// The (token, slot) pairs in order of expert: those of expert e are
// pairs[start[e]] .. pairs[start[e + 1]], each token * slots + slot.
struct Groups {
  std::vector<int64_t> start;
  std::vector<int64_t> pairs;

  explicit Groups(const ExpertMatMul& op) {
    const int64_t tokens = op.ids.dim(0), slots = op.ids.dim(1);
    const auto expert_of = [&](int64_t pair) {
      return reinterpret_cast<const int32_t*>(op.ids.data +
                                              pair / slots * op.ids.stride[0])[pair % slots];
    };
    start.assign(static_cast<size_t>(op.parts[0].weight.dim(0)) + 1, 0);
    pairs.resize(static_cast<size_t>(tokens * slots));
    for (int64_t p = 0; p < tokens * slots; ++p) ++start[static_cast<size_t>(expert_of(p)) + 1];
    std::partial_sum(start.begin(), start.end(), start.begin());
    std::vector<int64_t> next(start.begin(), start.end() - 1);
    for (int64_t p = 0; p < tokens * slots; ++p) {
      pairs[static_cast<size_t>(next[static_cast<size_t>(expert_of(p))]++)] = p;
    }
  }
};

// A matrix of rows `stride` bytes apart.
TensorView rows_view(std::byte* data, DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  TensorView view = make_view(data, dtype, {rows, columns});
  view.stride[0] = stride;
  return view;
}

// The product of an expert with rows that lie `stride` bytes apart, parts' results likewise.
MatMul product_of(const ExpertMatMul& op, int64_t expert, const TensorView& x) {
  MatMul product{.x = x, .num_parts = op.num_parts, .parts = {}};
  for (int p = 0; p < op.num_parts; ++p) {
    const ExpertMatMul::Part& part = op.parts[p];
    product.parts[p].weight =
        rows_view(part.weight.data + expert * part.weight.stride[0], part.weight.dtype,
                  part.weight.dim(1), part.weight.dim(2), part.weight.stride[1]);
    if (!part.bias.empty()) {
      product.parts[p].bias =
          make_view(part.bias.data + expert * part.bias.stride[0], DType::kF32, {part.bias.dim(1)});
    }
  }
  return product;
}

std::byte* row_of(const TensorView& view, int64_t token, int64_t slot) {
  return view.data + token * view.stride[0] + slot * view.stride[1];
}

Status run_per_slot(Context& context, const ExpertMatMul& op) {
  const int64_t tokens = op.x.dim(0), slots = op.parts[0].out.dim(1);
  for (int64_t j = 0; j < slots; ++j) {
    const TensorView x = rows_view(row_of(op.x, 0, op.x.dim(1) == 1 ? 0 : j), DType::kF32, tokens,
                                   op.x.dim(2), op.x.stride[0]);
    MatMul product = product_of(op, j, x);
    for (int p = 0; p < op.num_parts; ++p) {
      const TensorView& out = op.parts[p].out;
      product.parts[p].out =
          rows_view(row_of(out, 0, j), DType::kF32, tokens, out.dim(2), out.stride[0]);
    }
    TRY(run(context, product));
  }
  return {};
}

}  // namespace

Status run(Context& context, const SelectExperts& op) {
  const int64_t experts = op.logits.dim(1);
  const size_t bytes = static_cast<size_t>(2 * experts + op.num_groups) * sizeof(float) +
                       static_cast<size_t>(experts) * sizeof(bool);
  constexpr int64_t kTokensPerPiece = 16;
  const int64_t tokens = op.logits.dim(0);
  const int64_t pieces = (tokens + kTokensPerPiece - 1) / kTokensPerPiece;
  context.pool.parallel_for(pieces, [&](int64_t piece, int thread) {
    std::byte* scratch = context.thread_scratch(thread, bytes);
    const int64_t end = std::min(tokens, (piece + 1) * kTokensPerPiece);
    for (int64_t t = piece * kTokensPerPiece; t < end; ++t) {
      select_for_token(context.kernels, op, t, scratch);
    }
  });
  return {};
}

Status run(Context& context, const ExpertMatMul& op) {
  const int64_t tokens = op.x.dim(0), slots = op.parts[0].out.dim(1), k = op.x.dim(2);
  if (tokens * slots == 0) return {};
  if (op.ids.empty()) return run_per_slot(context, op);
  const Groups groups(op);
  const auto x_row = [&](int64_t pair) {
    return row_of(op.x, pair / slots, op.x.dim(1) == 1 ? 0 : pair % slots);
  };
  for (size_t e = 0; e + 1 < groups.start.size(); ++e) {
    const int64_t* pairs = groups.pairs.data() + groups.start[e];
    const int64_t count = groups.start[e + 1] - groups.start[e];
    if (count == 0) continue;
    // Rows of one expert lie all over the batch: they are gathered, and the results scattered.
    const bool in_place = count == 1;
    int64_t floats = in_place ? 0 : count * k;
    for (int p = 0; p < op.num_parts && !in_place; ++p) floats += count * op.parts[p].out.dim(2);
    auto* memory =
        reinterpret_cast<float*>(context.outer.get(static_cast<size_t>(floats) * sizeof(float)));
    const int64_t k_bytes = k * static_cast<int64_t>(sizeof(float));
    TensorView x = rows_view(x_row(pairs[0]), DType::kF32, count, k, k_bytes);
    if (!in_place) {
      x.data = reinterpret_cast<std::byte*>(memory);
      for_row_pieces(context.pool, count, k, [&](int64_t i) {
        std::memcpy(memory + i * k, x_row(pairs[i]), static_cast<size_t>(k_bytes));
      });
      memory += count * k;
    }
    MatMul product = product_of(op, static_cast<int64_t>(e), x);
    for (int p = 0; p < op.num_parts; ++p) {
      const TensorView& out = op.parts[p].out;
      auto* data = in_place ? row_of(out, pairs[0] / slots, pairs[0] % slots)
                            : reinterpret_cast<std::byte*>(memory);
      product.parts[p].out = make_view(data, DType::kF32, {count, out.dim(2)});
      memory += in_place ? 0 : count * out.dim(2);
    }
    TRY(run(context, product));
    for (int p = 0; p < op.num_parts && !in_place; ++p) {
      const TensorView& from = product.parts[p].out;
      const TensorView& out = op.parts[p].out;
      for_row_pieces(context.pool, count, out.dim(2), [&](int64_t i) {
        std::memcpy(row_of(out, pairs[i] / slots, pairs[i] % slots), from.data + i * from.stride[0],
                    static_cast<size_t>(from.stride[0]));
      });
    }
  }
  return {};
}

Status run(Context& context, const CombineExperts& op) {
  const int64_t dim = op.x.dim(2), slots = op.x.dim(1);
  const RowWalker out(op.out), weights(op.weights);
  for_row_pieces(context.pool, op.x.dim(0), slots * dim, [&](int64_t t) {
    context.kernels.rows.combine(reinterpret_cast<const float*>(op.x.data + t * op.x.stride[0]),
                                 op.x.stride[1] / static_cast<int64_t>(sizeof(float)),
                                 weights.row(t), slots, op.accumulate, out.row(t), dim);
  });
  return {};
}

}  // namespace realm::cpu
