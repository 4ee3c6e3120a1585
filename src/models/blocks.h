// The building blocks that decoder-only families share: hyper-parameters of a transformer layer,
// its weights, and the ops of attention and of a gated feed-forward. A family's file picks among
// them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "models/model.h"
#include "models/weight_loader.h"
#include "ops/program.h"

namespace realm {

struct TransformerParams {
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t heads = 0, kv_heads = 0;
  int64_t k_dim = 0, v_dim = 0;  // per head
  int64_t ffn = 0;
  int64_t n_rot = 0;
  int64_t trained_context = 0;
  float norm_eps = 1e-5f;
};

// Reads the keys that all families use (embedding_length, block_count, attention.*, ...), checking
// that every value is in range and that they fit each other.
Result<TransformerParams> read_transformer_params(const Metadata& metadata,
                                                  const std::string& arch);

// A linear layer: weight [out, in] and an optional bias [out].
struct Linear {
  TensorView weight, bias;
};
Result<Linear> load_linear(WeightLoader& loader, const std::string& name, int64_t out, int64_t in);

struct AttentionWeights {
  Linear q, k, v, o;
  TensorView q_norm, k_norm;  // [head dim], or empty
};
Result<AttentionWeights> load_attention(WeightLoader& loader, const std::string& prefix,
                                        const TransformerParams& params);

struct FeedForwardWeights {
  Linear gate, up, down;
};
Result<FeedForwardWeights> load_feed_forward(WeightLoader& loader, const std::string& prefix,
                                             const TransformerParams& params);

// out = linear(x), or out += linear(x).
void add_linear(ProgramBuilder& builder, const TensorView& x, const Linear& linear,
                const TensorView& out, bool accumulate = false);
// Several linears of one x in one op (q, k, v; gate, up); returns their outputs.
std::vector<TensorView> add_linears(ProgramBuilder& builder, const TensorView& x,
                                    std::initializer_list<const Linear*> linears);

struct AttentionSettings {
  TensorView rope_table;  // of the step
  RopePairs rope_pairs = RopePairs::kAdjacent;
  float scale = 0.0f;
  float soft_cap = 0.0f;
  int64_t window = 0;
};
// Self-attention of normalized x [T, hidden]; adds the projected result to `residual`.
void add_attention(ProgramBuilder& builder, const TransformerParams& params,
                   const AttentionWeights& weights, const AttentionSettings& settings,
                   const StepInputs& inputs, const KvLayer& cache, const TensorView& x,
                   const TensorView& residual);
// down(act(gate(x)) * up(x)), added to `residual`.
void add_feed_forward(ProgramBuilder& builder, const FeedForwardWeights& weights,
                      Activation activation, const TensorView& x, const TensorView& residual);

}  // namespace realm
