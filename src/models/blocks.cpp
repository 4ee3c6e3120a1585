#include "models/blocks.h"

#include <cmath>

namespace realm {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 20;

Error out_of_range(const std::string& key, int64_t value, const char* rule) {
  return Error{ErrorCode::kBadModel, key + ": " + std::to_string(value) + " " + rule};
}

}  // namespace

Result<float> read_positive(const Metadata& metadata, const std::string& key, double fallback) {
  const double value = TRY(metadata.get_float_or(key, fallback));
  if (!(value > 0.0) || value > 1e30) {
    return Error{ErrorCode::kBadModel, key + ": " + std::to_string(value) + " is not above 0"};
  }
  return static_cast<float>(value);
}

Result<TransformerParams> read_transformer_params(const Metadata& metadata, const std::string& arch,
                                                  NormKind norm) {
  TransformerParams p;
  p.hidden = TRY(metadata.get_int(arch + ".embedding_length", 1, kMaxDim));
  p.layers = TRY(metadata.get_int(arch + ".block_count", 1, 4096));
  p.heads = TRY(metadata.get_int(arch + ".attention.head_count", 1, 65536));
  p.kv_heads = TRY(metadata.get_int_or(arch + ".attention.head_count_kv", p.heads, 1, 65536));
  p.ffn = TRY(metadata.get_int(arch + ".feed_forward_length", 1, kMaxDim));
  p.trained_context = TRY(metadata.get_int(arch + ".context_length", 1, int64_t{1} << 31));
  p.norm_eps = static_cast<float>(
      TRY(metadata.get_float(arch + (norm == NormKind::kRms ? ".attention.layer_norm_rms_epsilon"
                                                            : ".attention.layer_norm_epsilon"))));
  if (p.heads % p.kv_heads != 0) {
    return out_of_range(arch + ".attention.head_count_kv", p.kv_heads,
                        ("does not divide head_count " + std::to_string(p.heads)).c_str());
  }
  const int64_t head_dim = p.hidden / p.heads;
  p.k_dim = TRY(metadata.get_int_or(arch + ".attention.key_length", head_dim, 1, 4096));
  p.v_dim = TRY(metadata.get_int_or(arch + ".attention.value_length", head_dim, 1, 4096));
  p.n_rot = TRY(metadata.get_int_or(arch + ".rope.dimension_count", p.k_dim, 2, 4096));
  if (p.n_rot > p.k_dim || p.n_rot % 2 != 0) {
    return out_of_range(
        arch + ".rope.dimension_count", p.n_rot,
        ("is not an even number up to the head size " + std::to_string(p.k_dim)).c_str());
  }
  return p;
}

Result<Linear> load_linear(WeightLoader& loader, const std::string& name, int64_t out, int64_t in,
                           Bias bias) {
  Linear linear;
  linear.weight = TRY(loader.matrix(name + ".weight", out, in));
  linear.bias = bias == Bias::kRequired ? TRY(loader.vector(name + ".bias", out))
                                        : TRY(loader.optional_vector(name + ".bias", out));
  return linear;
}

Result<Linear> load_linear_rows(WeightLoader& loader, const std::string& name, int64_t all_out,
                                int64_t in, int64_t begin, int64_t out) {
  Linear linear;
  linear.weight = TRY(loader.matrix_rows(name + ".weight", all_out, in, begin, out));
  if (loader.has(name + ".bias")) {
    linear.bias = TRY(loader.vector_part(name + ".bias", all_out, begin, out));
  }
  return linear;
}

Result<Norm> load_norm(WeightLoader& loader, const std::string& name, int64_t size, NormKind kind) {
  Norm norm{.kind = kind, .weight = TRY(loader.vector(name + ".weight", size)), .bias = {}};
  if (kind == NormKind::kLayer) norm.bias = TRY(loader.optional_vector(name + ".bias", size));
  return norm;
}

void add_norm(ProgramBuilder& builder, const TensorView& x, const Norm& norm, float eps,
              const TensorView& out) {
  if (norm.kind == NormKind::kRms) {
    builder.add(RmsNorm{.x = x, .weight = norm.weight, .out = out, .eps = eps});
  } else {
    builder.add(
        LayerNorm{.x = x, .weight = norm.weight, .bias = norm.bias, .out = out, .eps = eps});
  }
}

Result<AttentionWeights> load_attention(WeightLoader& loader, const std::string& prefix,
                                        const TransformerParams& p, const AttentionParts& parts,
                                        NormKind norm) {
  using enum AttentionParts::QkNorm;
  const int64_t q = p.heads * p.k_dim, k = p.kv_heads * p.k_dim, v = p.kv_heads * p.v_dim;
  AttentionWeights w;
  w.norm_after_rope = parts.norm_after_rope;
  if (parts.fused_qkv) {
    const std::string name = prefix + "attn_qkv";
    w.q = TRY(load_linear_rows(loader, name, q + k + v, p.hidden, 0, q));
    w.k = TRY(load_linear_rows(loader, name, q + k + v, p.hidden, q, k));
    w.v = TRY(load_linear_rows(loader, name, q + k + v, p.hidden, q + k, v));
  } else {
    w.q = TRY(load_linear(loader, prefix + "attn_q", q, p.hidden, parts.qkv_bias));
    w.k = TRY(load_linear(loader, prefix + "attn_k", k, p.hidden, parts.qkv_bias));
    w.v = TRY(load_linear(loader, prefix + "attn_v", v, p.hidden, parts.qkv_bias));
  }
  w.o = TRY(load_linear(loader, prefix + "attn_output", p.hidden, p.heads * p.v_dim));
  const std::string q_norm = prefix + "attn_q_norm", k_norm = prefix + "attn_k_norm";
  const bool wanted = parts.qk_norm == kHead || parts.qk_norm == kAll ||
                      (parts.qk_norm == kOptional && loader.has(q_norm + ".weight"));
  if (wanted) {
    const bool all = parts.qk_norm == kAll;
    w.q_norm = TRY(load_norm(loader, q_norm, all ? q : p.k_dim, norm));
    w.k_norm = TRY(load_norm(loader, k_norm, all ? k : p.k_dim, norm));
  }
  if (parts.sinks) w.sinks = TRY(loader.vector(prefix + "attn_sinks.weight", p.heads));
  return w;
}

Result<FeedForwardWeights> load_feed_forward(WeightLoader& loader, const std::string& prefix,
                                             int64_t hidden, int64_t ffn, FeedForwardForm form,
                                             const std::string& suffix) {
  const std::string gate = prefix + "ffn_gate" + suffix, up = prefix + "ffn_up" + suffix;
  FeedForwardWeights w;
  if (form == FeedForwardForm::kFusedGateUp) {
    w.gate = TRY(load_linear_rows(loader, up, 2 * ffn, hidden, 0, ffn));
    w.up = TRY(load_linear_rows(loader, up, 2 * ffn, hidden, ffn, ffn));
  } else {
    if (form == FeedForwardForm::kGated) w.gate = TRY(load_linear(loader, gate, ffn, hidden));
    w.up = TRY(load_linear(loader, up, ffn, hidden));
  }
  w.down = TRY(load_linear(loader, prefix + "ffn_down" + suffix, hidden, ffn));
  return w;
}

void add_linear(ProgramBuilder& builder, const TensorView& x, const Linear& linear,
                const TensorView& out, bool accumulate) {
  MatMul op{.x = x, .num_parts = 1, .parts = {}, .accumulate = accumulate};
  op.parts[0] = {.weight = linear.weight, .bias = linear.bias, .out = out};
  builder.add(op);
}

std::vector<TensorView> add_linears(ProgramBuilder& builder, const TensorView& x,
                                    std::initializer_list<const Linear*> linears) {
  MatMul op{.x = x, .num_parts = 0, .parts = {}};
  std::vector<TensorView> outputs;
  for (const Linear* linear : linears) {
    const TensorView out = builder.scratch({x.dim(0), linear->weight.dim(0)});
    op.parts[op.num_parts++] = {.weight = linear->weight, .bias = linear->bias, .out = out};
    outputs.push_back(out);
  }
  builder.add(op);
  return outputs;
}

namespace {

// Over each head, or over all heads of a token as one row where the norm is that wide.
void add_head_norm(ProgramBuilder& builder, const Norm& norm, float eps, const TensorView& heads) {
  if (norm.empty()) return;
  const bool each = norm.weight.dim(0) == heads.dim(2);
  const TensorView x = each ? heads : heads.reshaped({heads.dim(0), heads.dim(1) * heads.dim(2)});
  add_norm(builder, x, norm, eps, x);
}

}  // namespace

void add_attention(ProgramBuilder& builder, const TransformerParams& p,
                   const AttentionWeights& weights, const AttentionSettings& settings,
                   const StepInputs& inputs, const KvLayer& cache, const TensorView& x,
                   const TensorView& out, bool accumulate) {
  const int64_t tokens = x.dim(0);
  const auto qkv = add_linears(builder, x, {&weights.q, &weights.k, &weights.v});
  const TensorView q = qkv[0].reshaped({tokens, p.heads, p.k_dim});
  const TensorView k = qkv[1].reshaped({tokens, p.kv_heads, p.k_dim});
  const TensorView v = qkv[2].reshaped({tokens, p.kv_heads, p.v_dim});
  const auto add_norms = [&](bool here) {
    if (!here) return;
    add_head_norm(builder, weights.q_norm, p.norm_eps, q);
    add_head_norm(builder, weights.k_norm, p.norm_eps, k);
  };
  add_norms(!weights.norm_after_rope);
  if (!settings.rope_table.empty()) {
    builder.add(Rope{.x = q, .table = settings.rope_table, .pairs = settings.rope_pairs});
    builder.add(Rope{.x = k, .table = settings.rope_table, .pairs = settings.rope_pairs});
  }
  add_norms(weights.norm_after_rope);
  builder.add(
      StoreKv{.k = k, .v = v, .k_cache = cache.k, .v_cache = cache.v, .slots = inputs.slots});
  const TensorView attended = builder.scratch({tokens, p.heads, p.v_dim});
  builder.add(Attention{.q = q,
                        .k_cache = cache.k,
                        .v_cache = cache.v,
                        .positions = settings.last.empty() ? inputs.positions : settings.last,
                        .seq_start = inputs.seq_start,
                        .page_table = inputs.page_table,
                        .sinks = weights.sinks,
                        .oldest = settings.oldest,
                        .shared = settings.window > 0 ? TensorView{} : inputs.shared,
                        .out = attended,
                        .scale = settings.scale,
                        .soft_cap = settings.soft_cap,
                        .window = settings.window});
  add_linear(builder, attended.reshaped({tokens, p.heads * p.v_dim}), weights.o, out, accumulate);
}

void add_feed_forward(ProgramBuilder& builder, const FeedForwardWeights& weights,
                      Activation activation, const TensorView& x, const TensorView& out,
                      bool accumulate) {
  TensorView made;
  if (weights.gate.empty()) {
    made = add_linears(builder, x, {&weights.up})[0];
    builder.add(GatedActivation{.gate = made, .up = {}, .out = made, .activation = activation});
  } else {
    const auto gate_up = add_linears(builder, x, {&weights.gate, &weights.up});
    made = gate_up[0];
    builder.add(
        GatedActivation{.gate = made, .up = gate_up[1], .out = made, .activation = activation});
  }
  add_linear(builder, made, weights.down, out, accumulate);
}

}  // namespace realm
