#include "models/encoder.h"

#include <cmath>

#include "base/check.h"

namespace realm {
namespace {

struct Layer {
  Norm attention_norm, ffn_norm;  // before the branch or after it
  AttentionWeights attention;
  FeedForwardWeights ffn;
};

class Encoder final : public Model {
 public:
  Status load(std::shared_ptr<const TensorDirectory> file, Backend& backend,
              const std::string& arch, const TransformerParams& params, EncoderSettings settings);
  TensorView forward(ProgramBuilder& builder, const StepInputs& inputs,
                     const std::vector<KvLayer>& cache) const override;

 private:
  Status load_embedding(WeightLoader& loader);
  Result<Layer> load_layer(WeightLoader& loader, int64_t index) const;
  TensorView embed(ProgramBuilder& builder, const StepInputs& inputs) const;
  TensorView normed(ProgramBuilder& builder, const Norm& norm, const TensorView& x) const;
  void add_layer(ProgramBuilder& builder, size_t index, const std::vector<TensorView>& rope_tables,
                 const StepInputs& inputs, const KvLayer& cache, const TensorView& x) const;

  EncoderSettings settings_;
  TransformerParams params_;
  std::vector<RopeTables> ropes_;
  TensorView embedding_;   // [vocab, hidden]
  TensorView positions_;   // [positions, hidden], or empty
  TensorView token_type_;  // [hidden]: that of the first text, which all tokens here are of
  Norm embedding_norm_, output_norm_;
  std::vector<Layer> layers_;
};

Status Encoder::load(std::shared_ptr<const TensorDirectory> file, Backend& backend,
                     const std::string& arch, const TransformerParams& params,
                     EncoderSettings settings) {
  file_ = std::move(file);
  settings_ = std::move(settings);
  params_ = params;
  if (TRY(file_->metadata().get_bool_or(arch + ".attention.causal", false))) {
    return Error{ErrorCode::kBadModel, arch + ".attention.causal: an encoder's is not"};
  }
  if (settings_.layers.empty()) {
    settings_.layers.assign(static_cast<size_t>(params_.layers),
                            {.rope = settings_.ropes.empty() ? -1 : 0});
  }
  CHECK(static_cast<int64_t>(settings_.layers.size()) == params_.layers);

  WeightLoader loader(*file_, backend, info_);
  TRY(loader.begin(arch, params_.hidden, params_.layers, params_.trained_context));
  info_.is_encoder = true;
  info_.reach = settings_.reach;
  for (const RopeFrequencies& rope : settings_.ropes) {
    ropes_.push_back(TRY(RopeTables::load(loader, rope)));
  }
  TRY(load_embedding(loader));
  for (int64_t i = 0; i < params_.layers; ++i) {
    layers_.push_back(TRY(load_layer(loader, i)));
    info_.kv_layers.push_back(
        {.num_heads = params_.kv_heads, .k_dim = params_.k_dim, .v_dim = params_.v_dim});
  }
  if (!settings_.post_norms) {
    output_norm_ = TRY(load_norm(loader, "output_norm", params_.hidden, settings_.norm));
  }
  info_.bytes_per_token += info_.weight_bytes;
  return {};
}

Status Encoder::load_embedding(WeightLoader& loader) {
  embedding_ = TRY(loader.embedding());
  if (settings_.learned_positions) {
    positions_ =
        TRY(loader.matrix("position_embd.weight", params_.trained_context, params_.hidden));
    info_.position_limit = params_.trained_context;
    const TensorInfo* types = file_->find("token_types.weight");
    if (types != nullptr) {
      if (types->shape.size() != 2 || types->shape[0] < 1) {
        return Error{ErrorCode::kBadModel, "tensor 'token_types.weight' is not a matrix"};
      }
      token_type_ = TRY(loader.table("token_types.weight", types->shape[0], params_.hidden))
                        .slice(0, 1)
                        .reshaped({params_.hidden});
    }
  }
  if (settings_.embedding_norm) {
    embedding_norm_ = TRY(load_norm(loader, "token_embd_norm", params_.hidden, settings_.norm));
  }
  return {};
}

Result<Layer> Encoder::load_layer(WeightLoader& loader, int64_t index) const {
  const std::string prefix = "blk." + std::to_string(index) + ".";
  const bool post = settings_.post_norms;
  Layer layer;
  if (post || index > 0 || settings_.first_attention_norm) {
    layer.attention_norm = TRY(load_norm(loader, prefix + (post ? "attn_output_norm" : "attn_norm"),
                                         params_.hidden, settings_.norm));
  }
  layer.ffn_norm = TRY(load_norm(loader, prefix + (post ? "layer_output_norm" : "ffn_norm"),
                                 params_.hidden, settings_.norm));
  layer.attention =
      TRY(load_attention(loader, prefix, params_, settings_.attention, settings_.norm));
  layer.ffn =
      TRY(load_feed_forward(loader, prefix, params_.hidden, params_.ffn, settings_.ffn_form));
  return layer;
}

TensorView Encoder::embed(ProgramBuilder& builder, const StepInputs& inputs) const {
  const int64_t tokens = inputs.tokens.dim(0), hidden = params_.hidden;
  const TensorView x = builder.scratch({tokens, hidden});
  builder.add(GatherRows{.table = embedding_, .ids = inputs.tokens, .out = x});
  if (!positions_.empty()) {
    const TensorView added = builder.scratch({tokens, hidden});
    builder.add(GatherRows{.table = positions_, .ids = inputs.positions, .out = added});
    builder.add(Add{.a = x, .b = added, .out = x});
  }
  if (!token_type_.empty()) builder.add(Add{.a = x, .b = token_type_, .out = x});
  if (!embedding_norm_.empty()) add_norm(builder, x, embedding_norm_, params_.norm_eps, x);
  return x;
}

// What a branch reads: the residual stream itself where norms come after it.
TensorView Encoder::normed(ProgramBuilder& builder, const Norm& norm, const TensorView& x) const {
  if (settings_.post_norms || norm.empty()) return x;
  const TensorView out = builder.scratch({x.dim(0), x.dim(1)});
  add_norm(builder, x, norm, params_.norm_eps, out);
  return out;
}

void Encoder::add_layer(ProgramBuilder& builder, size_t index,
                        const std::vector<TensorView>& rope_tables, const StepInputs& inputs,
                        const KvLayer& cache, const TensorView& x) const {
  const Layer& layer = layers_[index];
  const EncoderLayerSettings& s = settings_.layers[index];
  const AttentionSettings attention{
      .rope_table = s.rope < 0 ? TensorView{} : rope_tables[static_cast<size_t>(s.rope)],
      .rope_pairs = RopePairs::kHalves,
      .scale = 1.0f / std::sqrt(static_cast<float>(params_.k_dim)),
      .last = s.local ? inputs.near_last : inputs.seq_last,
      .oldest = s.local ? inputs.near_first : TensorView{}};
  add_attention(builder, params_, layer.attention, attention, inputs, cache,
                normed(builder, layer.attention_norm, x), x);
  if (settings_.post_norms) add_norm(builder, x, layer.attention_norm, params_.norm_eps, x);
  add_feed_forward(builder, layer.ffn, settings_.activation, normed(builder, layer.ffn_norm, x), x);
  if (settings_.post_norms) add_norm(builder, x, layer.ffn_norm, params_.norm_eps, x);
}

TensorView Encoder::forward(ProgramBuilder& builder, const StepInputs& inputs,
                            const std::vector<KvLayer>& cache) const {
  CHECK(inputs.wants_hidden);
  const TensorView x = embed(builder, inputs);
  std::vector<TensorView> rope_tables;
  for (const RopeTables& rope : ropes_) rope_tables.push_back(rope.add_table(builder, inputs));
  for (size_t i = 0; i < layers_.size(); ++i) {
    add_layer(builder, i, rope_tables, inputs, cache[i], x);
  }
  const TensorView out = builder.scratch({inputs.logit_rows.dim(0), params_.hidden});
  builder.add(GatherRows{.table = x, .ids = inputs.logit_rows, .out = out});
  if (!output_norm_.empty()) add_norm(builder, out, output_norm_, params_.norm_eps, out);
  return out;
}

}  // namespace

Result<std::unique_ptr<Model>> load_encoder(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend, const std::string& architecture,
                                            const TransformerParams& params,
                                            EncoderSettings settings) {
  auto model = std::make_unique<Encoder>();
  TRY(model->load(std::move(file), backend, architecture, params, std::move(settings)));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace realm
