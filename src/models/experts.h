// A feed-forward that is a mixture of experts: its hyper-parameters, its weights (each kind of
// matrix of all experts is one stacked tensor), and its ops.
#pragma once

#include <string>

#include "models/blocks.h"

namespace realm {

struct ExpertSettings {
  int64_t experts = 0, used = 0;
  int64_t ffn = 0;         // of one expert
  int64_t shared_ffn = 0;  // of the experts that every token goes through, 0: none
  RouterScore score = RouterScore::kSoftmax;
  GroupScore group_score = GroupScore::kMax;
  int64_t num_groups = 1, num_groups_used = 1;
  bool normalize = false;
  float scale = 1.0f;
  Activation activation = Activation::kSilu;
  bool plain = false;           // experts without a gate
  bool choice_bias = false;     // exp_probs_b takes part in choosing
  bool shared_gate = false;     // the shared experts' result is multiplied by a sigmoid
  Bias bias = Bias::kOptional;  // of the router and of every expert
};

// Reads ARCH.expert_count and its kin over the family's `defaults`, each in range. The number of
// groups and their choice by DeepSeek-AI 2024: by the best expert's score, or by the best two's sum
// where scores are sigmoids.
Result<ExpertSettings> read_expert_settings(const Metadata& metadata, const std::string& arch,
                                            int64_t ffn, const ExpertSettings& defaults);

struct ExpertWeights {
  Linear router;           // [experts, hidden]
  TensorView choice_bias;  // [experts], or empty
  // [experts, ffn, hidden] and down [experts, hidden, ffn]; biases [experts, ffn] or [.., hidden].
  Linear gate, up, down;
  FeedForwardWeights shared;
  Linear shared_gate;  // [1, hidden], or empty
};
Result<ExpertWeights> load_experts(WeightLoader& loader, const std::string& prefix, int64_t hidden,
                                   const ExpertSettings& settings);

// Sets `out` [T, hidden] to what the experts make of x [T, hidden], or adds it.
void add_experts(ProgramBuilder& builder, const ExpertWeights& weights,
                 const ExpertSettings& settings, const TensorView& x, const TensorView& out,
                 bool accumulate = true);

}  // namespace realm
