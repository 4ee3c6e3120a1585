// The building blocks that decoder-only families share: hyper-parameters of a transformer layer,
// its weights, and the ops of norms, attention and feed-forwards. decoder.h puts them together; a
// family that differs in more writes its own forward from them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "models/model.h"
#include "models/weight_loader.h"
#include "ops/program.h"

namespace realm {

enum class NormKind { kRms, kLayer };

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
Result<TransformerParams> read_transformer_params(const Metadata& metadata, const std::string& arch,
                                                  NormKind norm = NormKind::kRms);
// A key that multiplies or divides: finite and above 0.
Result<float> read_positive(const Metadata& metadata, const std::string& key, double fallback);

// A linear layer: weight [out, in] and an optional bias [out].
struct Linear {
  TensorView weight, bias;
  bool empty() const { return weight.empty(); }
};
enum class Bias { kOptional, kRequired };
Result<Linear> load_linear(WeightLoader& loader, const std::string& name, int64_t out, int64_t in,
                           Bias bias = Bias::kOptional);
// Rows [begin, begin + out) of a layer that several share: fused q, k and v, or gate and up.
Result<Linear> load_linear_rows(WeightLoader& loader, const std::string& name, int64_t all_out,
                                int64_t in, int64_t begin, int64_t out);

// weight [dim], and bias [dim] where a layer norm has one. Empty: no such norm.
struct Norm {
  NormKind kind = NormKind::kRms;
  TensorView weight, bias;
  bool empty() const { return weight.empty(); }
};
Result<Norm> load_norm(WeightLoader& loader, const std::string& name, int64_t size, NormKind kind);
void add_norm(ProgramBuilder& builder, const TensorView& x, const Norm& norm, float eps,
              const TensorView& out);

// What a family's attention has besides its four matrices; a tensor named here has to be there.
struct AttentionParts {
  bool fused_qkv = false;  // attn_qkv holds the rows of q, k and v
  Bias qkv_bias = Bias::kOptional;
  // Norms of q and k, before or after rotation, of each head or of all heads together.
  enum class QkNorm { kNone, kOptional, kHead, kAll } qk_norm = QkNorm::kNone;
  bool norm_after_rope = false;
  bool sinks = false;
};
struct AttentionWeights {
  Linear q, k, v, o;
  Norm q_norm, k_norm;  // [head dim] or [heads * head dim]
  TensorView sinks;     // [heads], or empty
  bool norm_after_rope = false;
};
Result<AttentionWeights> load_attention(WeightLoader& loader, const std::string& prefix,
                                        const TransformerParams& params,
                                        const AttentionParts& parts, NormKind norm);

// Gated, or where gate is empty down(act(up(x))).
struct FeedForwardWeights {
  Linear gate, up, down;
};
enum class FeedForwardForm { kGated, kPlain, kFusedGateUp };
// Tensors PREFIXffn_gateSUFFIX and so on, SUFFIX being "" or that of shared experts.
Result<FeedForwardWeights> load_feed_forward(WeightLoader& loader, const std::string& prefix,
                                             int64_t hidden, int64_t ffn, FeedForwardForm form,
                                             const std::string& suffix = "");

// out = linear(x), or out += linear(x).
void add_linear(ProgramBuilder& builder, const TensorView& x, const Linear& linear,
                const TensorView& out, bool accumulate = false);
// Several linears of one x in one op (q, k, v; gate, up); returns their outputs.
std::vector<TensorView> add_linears(ProgramBuilder& builder, const TensorView& x,
                                    std::initializer_list<const Linear*> linears);

struct AttentionSettings {
  TensorView rope_table;  // of the step; empty: positions are not rotated in
  RopePairs rope_pairs = RopePairs::kAdjacent;
  float scale = 0.0f;
  float soft_cap = 0.0f;
  int64_t window = 0;
  TensorView last = {}, oldest = {};  // [T] I32 of an encoder, see Attention; empty: causal
};
// Self-attention of normalized x [T, hidden]; sets `out` to the projected result or adds it.
void add_attention(ProgramBuilder& builder, const TransformerParams& params,
                   const AttentionWeights& weights, const AttentionSettings& settings,
                   const StepInputs& inputs, const KvLayer& cache, const TensorView& x,
                   const TensorView& out, bool accumulate = true);
// down(act(gate(x)) * up(x)), or without the gate; sets `out` to it or adds it.
void add_feed_forward(ProgramBuilder& builder, const FeedForwardWeights& weights,
                      Activation activation, const TensorView& x, const TensorView& out,
                      bool accumulate = true);

}  // namespace realm
