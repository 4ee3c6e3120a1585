#include "models/decoder.h"

#include <cmath>

#include "models/rope_frequencies.h"

namespace realm {
namespace {

struct Layer {
  TensorView attention_norm, ffn_norm;
  AttentionWeights attention;
  FeedForwardWeights ffn;
};

class Decoder final : public Model {
 public:
  Status load(std::shared_ptr<const TensorDirectory> file, Backend& backend,
              const std::string& arch, const DecoderSettings& settings);
  TensorView forward(ProgramBuilder& builder, const StepInputs& inputs,
                     const std::vector<KvLayer>& cache) const override;

 private:
  DecoderSettings settings_;
  TransformerParams params_;
  RopeFrequencies rope_;
  int64_t window_ = 0;
  TensorView inv_freq_;
  TensorView embedding_;  // [vocab, hidden]
  TensorView output_norm_;
  Linear output_;
  std::vector<Layer> layers_;
};

Status Decoder::load(std::shared_ptr<const TensorDirectory> file, Backend& backend,
                     const std::string& arch, const DecoderSettings& settings) {
  file_ = std::move(file);
  settings_ = settings;
  const Metadata& metadata = file_->metadata();
  params_ = TRY(read_transformer_params(metadata, arch));
  rope_ = TRY(read_rope_frequencies(*file_, arch, params_.n_rot, params_.trained_context));

  const TensorInfo* embedding = file_->find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    return Error{ErrorCode::kBadModel, "tensor 'token_embd.weight' is missing or not a matrix"};
  }
  // Mistral 7B v0.1 and its kin attend to a window; a window of the whole context is none.
  window_ = TRY(metadata.get_int_or(arch + ".attention.sliding_window", 0, 0, int64_t{1} << 31));
  if (window_ >= params_.trained_context) window_ = 0;
  info_.architecture = arch;
  info_.name = TRY(metadata.get_string_or("general.name", ""));
  info_.vocab_size = embedding->shape[0];
  info_.hidden_size = params_.hidden;
  info_.num_layers = params_.layers;
  info_.trained_context = params_.trained_context;

  WeightLoader loader(*file_, backend, info_);
  inv_freq_ =
      TRY(loader.computed(rope_.inv_freq.data(), static_cast<int64_t>(rope_.inv_freq.size())));
  embedding_ = TRY(loader.matrix("token_embd.weight", info_.vocab_size, params_.hidden));
  const int64_t embedding_bytes = info_.weight_bytes;
  output_norm_ = TRY(loader.vector("output_norm.weight", params_.hidden));
  if (loader.has("output.weight")) {
    output_ = TRY(load_linear(loader, "output", info_.vocab_size, params_.hidden));
    info_.bytes_per_token -= embedding_bytes;  // only one row of the table is read
  } else {
    output_.weight = embedding_;
  }
  for (int64_t i = 0; i < params_.layers; ++i) {
    const std::string prefix = "blk." + std::to_string(i) + ".";
    Layer layer;
    layer.attention_norm = TRY(loader.vector(prefix + "attn_norm.weight", params_.hidden));
    layer.ffn_norm = TRY(loader.vector(prefix + "ffn_norm.weight", params_.hidden));
    layer.attention = TRY(load_attention(loader, prefix, params_));
    layer.ffn = TRY(load_feed_forward(loader, prefix, params_));
    if (settings_.require_qk_norm &&
        (layer.attention.q_norm.empty() || layer.attention.k_norm.empty())) {
      return Error{ErrorCode::kBadModel, "tensor '" + prefix + "attn_q_norm.weight' or '" + prefix +
                                             "attn_k_norm.weight' is missing"};
    }
    layers_.push_back(std::move(layer));
    info_.kv_layers.push_back({params_.kv_heads, params_.k_dim, params_.v_dim});
  }
  info_.bytes_per_token += info_.weight_bytes;
  return {};
}

TensorView Decoder::forward(ProgramBuilder& builder, const StepInputs& inputs,
                            const std::vector<KvLayer>& cache) const {
  const int64_t tokens = inputs.tokens.dim(0), hidden = params_.hidden;
  const TensorView x = builder.scratch({tokens, hidden});  // the residual stream
  builder.add(GatherRows{.table = embedding_, .ids = inputs.tokens, .out = x});
  const TensorView rope_table = builder.scratch({tokens, params_.n_rot});
  builder.add(RopeTable{.positions = inputs.positions,
                        .inv_freq = inv_freq_,
                        .out = rope_table,
                        .magnitude = rope_.magnitude});
  const AttentionSettings attention{.rope_table = rope_table,
                                    .rope_pairs = settings_.rope_pairs,
                                    .scale = 1.0f / std::sqrt(static_cast<float>(params_.k_dim)),
                                    .window = window_};
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const TensorView normed = builder.scratch({tokens, hidden});
    builder.add(
        RmsNorm{.x = x, .weight = layer.attention_norm, .out = normed, .eps = params_.norm_eps});
    add_attention(builder, params_, layer.attention, attention, inputs, cache[i], normed, x);
    const TensorView ffn_in = builder.scratch({tokens, hidden});
    builder.add(RmsNorm{.x = x, .weight = layer.ffn_norm, .out = ffn_in, .eps = params_.norm_eps});
    add_feed_forward(builder, layer.ffn, settings_.activation, ffn_in, x);
  }
  const int64_t rows = inputs.logit_rows.dim(0);
  const TensorView last = builder.scratch({rows, hidden});
  builder.add(GatherRows{.table = x, .ids = inputs.logit_rows, .out = last});
  builder.add(RmsNorm{.x = last, .weight = output_norm_, .out = last, .eps = params_.norm_eps});
  const TensorView logits = builder.scratch({rows, info_.vocab_size});
  add_linear(builder, last, output_, logits);
  return logits;
}

}  // namespace

Result<std::unique_ptr<Model>> load_decoder(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend, const std::string& architecture,
                                            const DecoderSettings& settings) {
  auto model = std::make_unique<Decoder>();
  TRY(model->load(std::move(file), backend, architecture, settings));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace realm
