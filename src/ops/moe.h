#pragma once

#include "ops/tensor_view.h"

namespace realm {

// How a router's logits become scores, one per expert.
enum class RouterScore {
  kSoftmax,          // over all experts
  kSoftmaxOfChosen,  // experts are chosen by their logits; softmax over the chosen ones only
  kSigmoid,          // each expert for itself
};
// How a group of experts is scored where only some groups may be chosen from.
enum class GroupScore { kMax, kSumOfTopTwo };

// Chooses `used` experts for each token (Shazeer et al. 2017), in descending order of their scores,
// the lower id first among equals, and gives each its weight:
//   choice = score + bias;  the num_groups_used groups with the best choices keep their experts
//   (DeepSeek-AI 2024), the others none;  ids = the `used` best choices
//   weight = score of the chosen, without bias; divided by their sum if normalize; times scale
// A token whose logits are not numbers still gets distinct ids.
struct SelectExperts {
  TensorView logits;   // [tokens, experts] F32, may be strided
  TensorView bias;     // [experts] F32, or empty
  TensorView ids;      // [tokens, used] I32
  TensorView weights;  // [tokens, used] F32
  RouterScore score = RouterScore::kSoftmax;
  GroupScore group_score = GroupScore::kMax;
  int64_t num_groups = 1, num_groups_used = 1;  // num_groups divides experts
  bool normalize = false;
  float scale = 1.0f;

  template <typename F>
  void visit(F&& f) {
    f(logits, false), f(bias, false), f(ids, true), f(weights, true);
  }
};

// Products with one of many matrices, chosen for each token and slot:
//   out[p][t, j, r] = sum_k x[t, j, k] * weight[p][e, r, k] (+ bias[p][e, r]),  e = ids[t, j]
// or e = j where ids is empty: the per-head products of multi-head latent attention. x with one
// slot serves all slots. Up to two weights share one x (gate, up). Arithmetic as in MatMul: an
// output depends on its x and its matrix only. A backend groups a batch's rows by expert, so that
// each matrix is read once.
struct ExpertMatMul {
  static constexpr int kMaxParts = 2;
  struct Part {
    TensorView weight;  // [experts, rows, k], any dtype; experts may be strided
    TensorView bias;    // [experts, rows] F32, or empty
    TensorView out;     // [tokens, slots, rows] F32; tokens and slots may be strided
  };
  TensorView x;    // [tokens, slots or 1, k] F32; tokens and slots may be strided
  TensorView ids;  // [tokens, slots] I32, or empty
  int num_parts = 1;
  Part parts[kMaxParts];

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(ids, false);
    for (int i = 0; i < num_parts; ++i) {
      f(parts[i].weight, false), f(parts[i].bias, false), f(parts[i].out, true);
    }
  }
};

// out[t] = sum_j weights[t, j] * x[t, j] (+ out[t] if accumulate): j ascending, the first a
// product, the others fused multiply-adds, out added last.
struct CombineExperts {
  TensorView x;        // [tokens, slots, dim] F32
  TensorView weights;  // [tokens, slots] F32
  TensorView out;      // [tokens, dim] F32
  bool accumulate = false;

  template <typename F>
  void visit(F&& f) {
    f(x, false), f(weights, false);
    if (accumulate) f(out, false);
    f(out, true);
  }
};

}  // namespace realm
