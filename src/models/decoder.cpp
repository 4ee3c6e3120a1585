#include "models/decoder.h"

#include <cmath>

#include "base/check.h"

namespace realm {
namespace {

struct Layer {
  Norm attention_norm, post_attention_norm, ffn_norm, post_ffn_norm;
  AttentionWeights attention;
  FeedForwardWeights ffn;
  ExpertWeights experts;
};

class Decoder final : public Model {
 public:
  Status load(std::shared_ptr<const TensorDirectory> file, Backend& backend,
              const std::string& arch, const TransformerParams& params, DecoderSettings settings);
  TensorView forward(ProgramBuilder& builder, const StepInputs& inputs,
                     const std::vector<KvLayer>& cache) const override;

 private:
  Result<Layer> load_layer(WeightLoader& loader, int64_t index) const;
  void add_layer(ProgramBuilder& builder, size_t index, const std::vector<TensorView>& rope_tables,
                 const StepInputs& inputs, const KvLayer& cache, const TensorView& x) const;
  void add_ffn(ProgramBuilder& builder, size_t index, const TensorView& x, const TensorView& out,
               bool accumulate) const;
  template <typename Make>
  void add_branch(ProgramBuilder& builder, const Norm& after, const TensorView& x,
                  Make&& make) const;
  TensorView normed(ProgramBuilder& builder, const Norm& norm, const TensorView& x) const;

  DecoderSettings settings_;
  TransformerParams params_;
  std::vector<RopeTables> ropes_;
  TensorView embedding_;  // [vocab, hidden]
  Norm output_norm_;
  Linear output_;
  std::vector<Layer> layers_;
};

Status Decoder::load(std::shared_ptr<const TensorDirectory> file, Backend& backend,
                     const std::string& arch, const TransformerParams& params,
                     DecoderSettings settings) {
  file_ = std::move(file);
  settings_ = std::move(settings);
  params_ = params;
  if (settings_.ropes.empty()) {
    settings_.ropes.push_back(
        TRY(read_rope_frequencies(*file_, arch, params_.n_rot, params_.trained_context)));
  }
  if (settings_.layers.empty()) {
    const int64_t window = TRY(read_window(file_->metadata(), arch, params_.trained_context));
    settings_.layers.assign(static_cast<size_t>(params_.layers),
                            {.window = window, .experts = settings_.experts.has_value()});
  }
  if (settings_.attention_scale == 0.0f) {
    settings_.attention_scale = 1.0f / std::sqrt(static_cast<float>(params_.k_dim));
  }
  CHECK(static_cast<int64_t>(settings_.layers.size()) == params_.layers);

  WeightLoader loader(*file_, backend, info_);
  TRY(loader.begin(arch, params_.hidden, params_.layers, params_.trained_context));
  for (const RopeFrequencies& rope : settings_.ropes) {
    ropes_.push_back(TRY(RopeTables::load(loader, rope)));
  }
  embedding_ = TRY(loader.embedding());
  output_norm_ = TRY(load_norm(loader, "output_norm", params_.hidden, settings_.norm));
  output_.weight = TRY(loader.output(embedding_));
  output_.bias = TRY(loader.optional_vector("output.bias", info_.vocab_size));
  for (int64_t i = 0; i < params_.layers; ++i) {
    layers_.push_back(TRY(load_layer(loader, i)));
    info_.kv_layers.push_back({.num_heads = params_.kv_heads,
                               .k_dim = params_.k_dim,
                               .v_dim = params_.v_dim,
                               .window = settings_.layers[static_cast<size_t>(i)].window});
  }
  info_.bytes_per_token += info_.weight_bytes;
  return {};
}

Result<Layer> Decoder::load_layer(WeightLoader& loader, int64_t index) const {
  const DecoderSettings& s = settings_;
  const std::string prefix = "blk." + std::to_string(index) + ".";
  Layer layer;
  if (s.pre_norms) {
    layer.attention_norm = TRY(load_norm(loader, prefix + "attn_norm", params_.hidden, s.norm));
    if (!s.parallel || loader.has(prefix + s.ffn_norm_name + ".weight")) {
      layer.ffn_norm = TRY(load_norm(loader, prefix + s.ffn_norm_name, params_.hidden, s.norm));
    }
  }
  if (s.post_norms) {
    layer.post_attention_norm =
        TRY(load_norm(loader, prefix + s.post_attention_norm_name, params_.hidden, s.norm));
    layer.post_ffn_norm =
        TRY(load_norm(loader, prefix + s.post_ffn_norm_name, params_.hidden, s.norm));
  }
  layer.attention = TRY(load_attention(loader, prefix, params_, s.attention, s.norm));
  if (s.layers[static_cast<size_t>(index)].experts) {
    layer.experts = TRY(load_experts(loader, prefix, params_.hidden, *s.experts));
  } else {
    layer.ffn = TRY(load_feed_forward(loader, prefix, params_.hidden, params_.ffn, s.ffn_form));
  }
  return layer;
}

TensorView Decoder::normed(ProgramBuilder& builder, const Norm& norm, const TensorView& x) const {
  if (norm.empty()) return x;
  const TensorView out = builder.scratch({x.dim(0), x.dim(1)});
  add_norm(builder, x, norm, params_.norm_eps, out);
  return out;
}

// Adds what make(out, accumulate) gives to the residual x, through `after` and the residual's scale
// where there are such.
template <typename Make>
void Decoder::add_branch(ProgramBuilder& builder, const Norm& after, const TensorView& x,
                         Make&& make) const {
  if (after.empty() && settings_.residual_scale == 1.0f) {
    make(x, true);
    return;
  }
  const TensorView made = builder.scratch({x.dim(0), x.dim(1)});
  make(made, false);
  if (!after.empty()) add_norm(builder, made, after, params_.norm_eps, made);
  if (settings_.residual_scale != 1.0f) {
    builder.add(Scale{.x = made, .out = made, .scale = settings_.residual_scale});
  }
  builder.add(Add{.a = x, .b = made, .out = x});
}

void Decoder::add_ffn(ProgramBuilder& builder, size_t index, const TensorView& x,
                      const TensorView& out, bool accumulate) const {
  const Layer& layer = layers_[index];
  if (settings_.layers[index].experts) {
    add_experts(builder, layer.experts, *settings_.experts, x, out, accumulate);
  } else {
    add_feed_forward(builder, layer.ffn, settings_.activation, x, out, accumulate);
  }
}

void Decoder::add_layer(ProgramBuilder& builder, size_t index,
                        const std::vector<TensorView>& rope_tables, const StepInputs& inputs,
                        const KvLayer& cache, const TensorView& x) const {
  const Layer& layer = layers_[index];
  const LayerSettings& s = settings_.layers[index];
  const AttentionSettings attention{
      .rope_table = s.rope < 0 ? TensorView{} : rope_tables[static_cast<size_t>(s.rope)],
      .rope_pairs = settings_.rope_pairs,
      .scale = settings_.attention_scale,
      .soft_cap = settings_.attention_soft_cap,
      .window = s.window};
  const TensorView attention_in = normed(builder, layer.attention_norm, x);
  TensorView ffn_in = attention_in;
  if (settings_.parallel && !layer.ffn_norm.empty()) ffn_in = normed(builder, layer.ffn_norm, x);
  add_branch(builder, layer.post_attention_norm, x, [&](const TensorView& out, bool accumulate) {
    add_attention(builder, params_, layer.attention, attention, inputs, cache, attention_in, out,
                  accumulate);
  });
  if (!settings_.parallel) ffn_in = normed(builder, layer.ffn_norm, x);
  add_branch(builder, layer.post_ffn_norm, x, [&](const TensorView& out, bool accumulate) {
    add_ffn(builder, index, ffn_in, out, accumulate);
  });
}

TensorView Decoder::forward(ProgramBuilder& builder, const StepInputs& inputs,
                            const std::vector<KvLayer>& cache) const {
  const int64_t tokens = inputs.tokens.dim(0), hidden = params_.hidden;
  const TensorView x = builder.scratch({tokens, hidden});  // the residual stream
  builder.add(GatherRows{
      .table = embedding_, .ids = inputs.tokens, .out = x, .scale = settings_.embedding_scale});
  std::vector<TensorView> rope_tables;
  for (const RopeTables& rope : ropes_) rope_tables.push_back(rope.add_table(builder, inputs));
  for (size_t i = 0; i < layers_.size(); ++i) {
    add_layer(builder, i, rope_tables, inputs, cache[i], x);
  }
  const int64_t rows = inputs.logit_rows.dim(0);
  const TensorView last = builder.scratch({rows, hidden});
  builder.add(GatherRows{.table = x, .ids = inputs.logit_rows, .out = last});
  add_norm(builder, last, output_norm_, params_.norm_eps, last);
  if (inputs.wants_hidden) return last;
  const TensorView logits = builder.scratch({rows, info_.vocab_size});
  add_linear(builder, last, output_, logits);
  if (settings_.logit_scale != 1.0f || settings_.logit_soft_cap > 0.0f) {
    builder.add(Scale{.x = logits,
                      .out = logits,
                      .scale = settings_.logit_scale,
                      .soft_cap = settings_.logit_soft_cap});
  }
  return logits;
}

}  // namespace

Result<int64_t> read_window(const Metadata& metadata, const std::string& arch,
                            int64_t trained_context) {
  const int64_t window =
      TRY(metadata.get_int_or(arch + ".attention.sliding_window", 0, 0, int64_t{1} << 31));
  return window >= trained_context ? 0 : window;
}

Result<std::unique_ptr<Model>> load_decoder(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend, const std::string& architecture,
                                            const TransformerParams& params,
                                            DecoderSettings settings) {
  auto model = std::make_unique<Decoder>();
  TRY(model->load(std::move(file), backend, architecture, params, std::move(settings)));
  return std::unique_ptr<Model>(std::move(model));
}

Result<std::unique_ptr<Model>> load_decoder(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend, const std::string& architecture,
                                            DecoderSettings settings) {
  const TransformerParams params =
      TRY(read_transformer_params(file->metadata(), architecture, settings.norm));
  return load_decoder(std::move(file), backend, architecture, params, std::move(settings));
}

}  // namespace realm
