#include "models/blocks.h"

namespace realm {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 20;

Error out_of_range(const std::string& key, int64_t value, const char* rule) {
  return Error{ErrorCode::kBadModel, key + ": " + std::to_string(value) + " " + rule};
}

}  // namespace

Result<TransformerParams> read_transformer_params(const Metadata& metadata,
                                                  const std::string& arch) {
  TransformerParams p;
  p.hidden = TRY(metadata.get_int(arch + ".embedding_length", 1, kMaxDim));
  p.layers = TRY(metadata.get_int(arch + ".block_count", 1, 4096));
  p.heads = TRY(metadata.get_int(arch + ".attention.head_count", 1, 65536));
  p.kv_heads = TRY(metadata.get_int_or(arch + ".attention.head_count_kv", p.heads, 1, 65536));
  p.ffn = TRY(metadata.get_int(arch + ".feed_forward_length", 1, kMaxDim));
  p.trained_context = TRY(metadata.get_int(arch + ".context_length", 1, int64_t{1} << 31));
  p.norm_eps =
      static_cast<float>(TRY(metadata.get_float(arch + ".attention.layer_norm_rms_epsilon")));
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

Result<Linear> load_linear(WeightLoader& loader, const std::string& name, int64_t out, int64_t in) {
  Linear linear;
  linear.weight = TRY(loader.matrix(name + ".weight", out, in));
  linear.bias = TRY(loader.optional_vector(name + ".bias", out));
  return linear;
}

Result<AttentionWeights> load_attention(WeightLoader& loader, const std::string& prefix,
                                        const TransformerParams& p) {
  AttentionWeights w;
  w.q = TRY(load_linear(loader, prefix + "attn_q", p.heads * p.k_dim, p.hidden));
  w.k = TRY(load_linear(loader, prefix + "attn_k", p.kv_heads * p.k_dim, p.hidden));
  w.v = TRY(load_linear(loader, prefix + "attn_v", p.kv_heads * p.v_dim, p.hidden));
  w.o = TRY(load_linear(loader, prefix + "attn_output", p.hidden, p.heads * p.v_dim));
  w.q_norm = TRY(loader.optional_vector(prefix + "attn_q_norm.weight", p.k_dim));
  w.k_norm = TRY(loader.optional_vector(prefix + "attn_k_norm.weight", p.k_dim));
  return w;
}

Result<FeedForwardWeights> load_feed_forward(WeightLoader& loader, const std::string& prefix,
                                             const TransformerParams& p) {
  FeedForwardWeights w;
  w.gate = TRY(load_linear(loader, prefix + "ffn_gate", p.ffn, p.hidden));
  w.up = TRY(load_linear(loader, prefix + "ffn_up", p.ffn, p.hidden));
  w.down = TRY(load_linear(loader, prefix + "ffn_down", p.hidden, p.ffn));
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

void add_attention(ProgramBuilder& builder, const TransformerParams& p,
                   const AttentionWeights& weights, const AttentionSettings& settings,
                   const StepInputs& inputs, const KvLayer& cache, const TensorView& x,
                   const TensorView& residual) {
  const int64_t tokens = x.dim(0);
  const auto qkv = add_linears(builder, x, {&weights.q, &weights.k, &weights.v});
  const TensorView q = qkv[0].reshaped({tokens, p.heads, p.k_dim});
  const TensorView k = qkv[1].reshaped({tokens, p.kv_heads, p.k_dim});
  const TensorView v = qkv[2].reshaped({tokens, p.kv_heads, p.v_dim});
  if (!weights.q_norm.empty()) {
    builder.add(RmsNorm{.x = q, .weight = weights.q_norm, .out = q, .eps = p.norm_eps});
  }
  if (!weights.k_norm.empty()) {
    builder.add(RmsNorm{.x = k, .weight = weights.k_norm, .out = k, .eps = p.norm_eps});
  }
  builder.add(Rope{.x = q, .table = settings.rope_table, .pairs = settings.rope_pairs});
  builder.add(Rope{.x = k, .table = settings.rope_table, .pairs = settings.rope_pairs});
  builder.add(
      StoreKv{.k = k, .v = v, .k_cache = cache.k, .v_cache = cache.v, .slots = inputs.slots});
  const TensorView attended = builder.scratch({tokens, p.heads, p.v_dim});
  builder.add(Attention{.q = q,
                        .k_cache = cache.k,
                        .v_cache = cache.v,
                        .positions = inputs.positions,
                        .seq_start = inputs.seq_start,
                        .page_table = inputs.page_table,
                        .sinks = {},
                        .out = attended,
                        .scale = settings.scale,
                        .soft_cap = settings.soft_cap,
                        .window = settings.window});
  add_linear(builder, attended.reshaped({tokens, p.heads * p.v_dim}), weights.o, residual, true);
}

void add_feed_forward(ProgramBuilder& builder, const FeedForwardWeights& weights,
                      Activation activation, const TensorView& x, const TensorView& residual) {
  const auto gate_up = add_linears(builder, x, {&weights.gate, &weights.up});
  builder.add(GatedActivation{
      .gate = gate_up[0], .up = gate_up[1], .out = gate_up[0], .activation = activation});
  add_linear(builder, gate_up[0], weights.down, residual, true);
}

}  // namespace realm
