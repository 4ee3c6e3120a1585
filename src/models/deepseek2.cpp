// DeepSeek V2, V2-Lite and V3: multi-head latent attention (DeepSeek-AI 2024), dense layers first,
// then mixtures of experts with shared ones. The cache holds one compressed row per token, of which
// the values are the first columns; the matrices that would expand it are applied to queries and
// results instead (the absorbed form), in prefill too, so that a prompt's cut changes no bit.
//
// Files come in two layouts: attn_k_b and attn_v_b, the former transposed for this use, or as of
// old both in one attn_kv_b, whose part for the keys is transposed here.
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "formats/quant/quant_table.h"
#include "models/experts.h"
#include "models/registry.h"
#include "models/rope_frequencies.h"

namespace realm {
namespace {

constexpr int64_t kMaxRank = 65536;
constexpr const char* kArch = "deepseek2";

struct LatentParams {
  int64_t q_rank = 0;   // of the compressed queries, 0: not compressed
  int64_t kv_rank = 0;  // of the compressed keys and values
  int64_t nope = 0;     // a head's query and key without position
  int64_t v_dim = 0;    // a head's value
};

struct Layer {
  Norm attention_norm, ffn_norm, q_norm, kv_norm;
  Linear q_down, q;  // q_down empty where queries are not compressed
  Linear kv_down;    // [kv_rank + n_rot, hidden]
  TensorView k_up;   // [heads, kv_rank, nope]
  TensorView v_up;   // [heads, v_dim, kv_rank]
  Linear o;
  FeedForwardWeights ffn;
  ExpertWeights experts;
};

class DeepSeek2 final : public Model {
 public:
  Status load(std::shared_ptr<const TensorDirectory> file, Backend& backend);
  TensorView forward(ProgramBuilder& builder, const StepInputs& inputs,
                     const std::vector<KvLayer>& cache) const override;

 private:
  Status read_params();
  Result<Layer> load_layer(WeightLoader& loader, int64_t index);
  Status load_expansions(WeightLoader& loader, const std::string& prefix, Layer& layer);
  Result<TensorView> transpose_keys(WeightLoader& loader, const std::string& name);
  TensorView add_queries(ProgramBuilder& builder, const Layer& layer, const TensorView& x,
                         const TensorView& rope_table, TensorView& kv) const;
  void add_latent_attention(ProgramBuilder& builder, const Layer& layer, const StepInputs& inputs,
                            const TensorView& rope_table, const KvLayer& cache, const TensorView& x,
                            const TensorView& residual) const;

  TransformerParams params_;
  LatentParams latent_;
  float scale_ = 0.0f;
  int64_t num_dense_ = 0;
  std::optional<ExpertSettings> expert_settings_;
  RopeFrequencies rope_;
  RopeTables tables_;
  TensorView embedding_;
  Norm output_norm_;
  Linear output_;
  std::vector<Layer> layers_;
  std::vector<std::vector<std::byte>> transposed_;  // memory of k_up of the old layout
};

Error does_not_fit(const char* key, int64_t value) {
  return Error{ErrorCode::kBadModel, std::string(kArch) + key + ": " + std::to_string(value) +
                                         " does not fit the other hyper-parameters"};
}

Status DeepSeek2::read_params() {
  const Metadata& metadata = file_->metadata();
  const std::string arch = kArch;
  params_ = TRY(read_transformer_params(metadata, arch));
  latent_.q_rank = TRY(metadata.get_int_or(arch + ".attention.q_lora_rank", 0, 0, kMaxRank));
  latent_.kv_rank = TRY(metadata.get_int(arch + ".attention.kv_lora_rank", 1, kMaxRank));
  // Newer files describe the compressed head under the usual keys and the expanded one under these.
  const int64_t key =
      TRY(metadata.get_int_or(arch + ".attention.key_length_mla", params_.k_dim, 1, 4096));
  latent_.v_dim =
      TRY(metadata.get_int_or(arch + ".attention.value_length_mla", params_.v_dim, 1, 4096));
  latent_.nope = key - params_.n_rot;
  if (latent_.nope < 1) return does_not_fit(".rope.dimension_count", params_.n_rot);
  num_dense_ = TRY(metadata.get_int_or(arch + ".leading_dense_block_count", 0, 0, params_.layers));
  if (num_dense_ < params_.layers) {
    const bool biased = file_->find("blk." + std::to_string(num_dense_) + ".exp_probs_b.bias");
    expert_settings_ =
        TRY(read_expert_settings(metadata, arch, params_.ffn, {.choice_bias = biased}));
  }
  rope_ = TRY(read_rope_frequencies(*file_, arch, params_.n_rot, params_.trained_context));
  // YaRN's magnitude goes into the scores, by a factor of the file's own, instead of the rotation.
  const double factor = TRY(metadata.get_float_or(arch + ".rope.scaling.factor", 1.0));
  const double log_multiplier =
      TRY(metadata.get_float_or(arch + ".rope.scaling.yarn_log_multiplier", 0.0));
  const double magnitude = 1.0 + log_multiplier * std::log(std::max(factor, 1.0));
  rope_.magnitude = 1.0f;
  scale_ = static_cast<float>(magnitude * magnitude / std::sqrt(static_cast<double>(key)));
  if (!std::isfinite(scale_)) return does_not_fit(".rope.scaling.yarn_log_multiplier", 0);
  return {};
}

Status DeepSeek2::load(std::shared_ptr<const TensorDirectory> file, Backend& backend) {
  file_ = std::move(file);
  TRY(read_params());
  WeightLoader loader(*file_, backend, info_);
  TRY(loader.begin(kArch, params_.hidden, params_.layers, params_.trained_context));
  tables_ = TRY(RopeTables::load(loader, rope_));
  embedding_ = TRY(loader.embedding());
  output_norm_ = TRY(load_norm(loader, "output_norm", params_.hidden, NormKind::kRms));
  output_.weight = TRY(loader.output(embedding_));
  for (int64_t i = 0; i < params_.layers; ++i) {
    layers_.push_back(TRY(load_layer(loader, i)));
    info_.kv_layers.push_back({.num_heads = 1,
                               .k_dim = latent_.kv_rank + params_.n_rot,
                               .v_dim = latent_.kv_rank,
                               .values_in_keys = true});
  }
  info_.bytes_per_token += info_.weight_bytes;
  return {};
}

Result<Layer> DeepSeek2::load_layer(WeightLoader& loader, int64_t index) {
  const std::string prefix = "blk." + std::to_string(index) + ".";
  const int64_t hidden = params_.hidden;
  const int64_t q_rows = params_.heads * (latent_.nope + params_.n_rot);
  Layer layer;
  layer.attention_norm = TRY(load_norm(loader, prefix + "attn_norm", hidden, NormKind::kRms));
  layer.ffn_norm = TRY(load_norm(loader, prefix + "ffn_norm", hidden, NormKind::kRms));
  layer.kv_norm =
      TRY(load_norm(loader, prefix + "attn_kv_a_norm", latent_.kv_rank, NormKind::kRms));
  if (latent_.q_rank > 0) {
    layer.q_norm = TRY(load_norm(loader, prefix + "attn_q_a_norm", latent_.q_rank, NormKind::kRms));
    layer.q_down = TRY(load_linear(loader, prefix + "attn_q_a", latent_.q_rank, hidden));
    layer.q = TRY(load_linear(loader, prefix + "attn_q_b", q_rows, latent_.q_rank));
  } else {
    layer.q = TRY(load_linear(loader, prefix + "attn_q", q_rows, hidden));
  }
  layer.kv_down =
      TRY(load_linear(loader, prefix + "attn_kv_a_mqa", latent_.kv_rank + params_.n_rot, hidden));
  TRY(load_expansions(loader, prefix, layer));
  layer.o = TRY(load_linear(loader, prefix + "attn_output", hidden, params_.heads * latent_.v_dim));
  if (index < num_dense_) {
    layer.ffn =
        TRY(load_feed_forward(loader, prefix, hidden, params_.ffn, FeedForwardForm::kGated));
  } else {
    layer.experts = TRY(load_experts(loader, prefix, hidden, *expert_settings_));
  }
  return layer;
}

Status DeepSeek2::load_expansions(WeightLoader& loader, const std::string& prefix, Layer& layer) {
  const int64_t heads = params_.heads, rank = latent_.kv_rank;
  const std::string both = prefix + "attn_kv_b.weight";
  if (!loader.has(prefix + "attn_k_b.weight") && loader.has(both)) {
    layer.v_up = TRY(loader.stack_rows(both, heads, latent_.nope + latent_.v_dim, rank,
                                       latent_.nope, latent_.v_dim));
    layer.k_up = TRY(transpose_keys(loader, both));
    return {};
  }
  layer.k_up = TRY(loader.stack(prefix + "attn_k_b.weight", heads, rank, latent_.nope, heads));
  layer.v_up = TRY(loader.stack(prefix + "attn_v_b.weight", heads, latent_.v_dim, rank, heads));
  return {};
}

// [heads, nope, kv_rank] out of attn_kv_b [heads * (nope + v_dim), kv_rank], as [heads, kv_rank,
// nope]. Exact for float types; a block format's rows run along the wrong dimension, so that it
// becomes F16.
Result<TensorView> DeepSeek2::transpose_keys(WeightLoader& loader, const std::string& name) {
  const int64_t heads = params_.heads, rank = latent_.kv_rank, nope = latent_.nope;
  const int64_t head_rows = nope + latent_.v_dim;
  const TensorInfo* tensor = TRY(loader.find_matrix(name, heads * head_rows, rank));
  const BlockFormat& from = *find_block_format(tensor->dtype);
  const bool is_float = from.unpack == nullptr;
  const BlockFormat& to = is_float ? from : *find_block_format(DType::kF16);
  const size_t source_row = row_bytes(from, rank), target_row = row_bytes(to, nope);
  std::vector<std::byte>& memory = transposed_.emplace_back();
  memory.resize(static_cast<size_t>(heads * rank) * target_row);
  std::vector<float> head(static_cast<size_t>(nope * rank)), row(static_cast<size_t>(nope));
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < nope; ++i) {
      from.decode(tensor->data.data() + static_cast<size_t>(h * head_rows + i) * source_row,
                  head.data() + i * rank, rank);
    }
    for (int64_t r = 0; r < rank; ++r) {
      for (int64_t i = 0; i < nope; ++i) {
        row[static_cast<size_t>(i)] = head[static_cast<size_t>(i * rank + r)];
      }
      to.encode(row.data(), memory.data() + static_cast<size_t>(h * rank + r) * target_row, nope,
                nullptr);
    }
  }
  info_.num_parameters += heads * rank * nope;
  info_.weight_bytes += static_cast<int64_t>(memory.size());
  return loader.computed(make_view(memory.data(), to.type, {heads, rank, nope}));
}

// The queries of all heads, [T, heads, nope + n_rot], rotated; and of the same x the compressed row
// `kv` [T, kv_rank + n_rot] before its norm.
TensorView DeepSeek2::add_queries(ProgramBuilder& builder, const Layer& layer, const TensorView& x,
                                  const TensorView& rope_table, TensorView& kv) const {
  const int64_t tokens = x.dim(0), head = latent_.nope + params_.n_rot;
  TensorView q;
  if (layer.q_down.empty()) {
    const auto both = add_linears(builder, x, {&layer.q, &layer.kv_down});
    q = both[0], kv = both[1];
  } else {
    const auto both = add_linears(builder, x, {&layer.q_down, &layer.kv_down});
    kv = both[1];
    add_norm(builder, both[0], layer.q_norm, params_.norm_eps, both[0]);
    q = add_linears(builder, both[0], {&layer.q})[0];
  }
  q = q.reshaped({tokens, params_.heads, head});
  builder.add(Rope{.x = q.columns(latent_.nope, params_.n_rot),
                   .table = rope_table,
                   .pairs = RopePairs::kAdjacent});
  return q;
}

void DeepSeek2::add_latent_attention(ProgramBuilder& builder, const Layer& layer,
                                     const StepInputs& inputs, const TensorView& rope_table,
                                     const KvLayer& cache, const TensorView& x,
                                     const TensorView& residual) const {
  const int64_t tokens = x.dim(0), heads = params_.heads, rank = latent_.kv_rank;
  const int64_t n_rot = params_.n_rot;
  TensorView kv;
  const TensorView q = add_queries(builder, layer, x, rope_table, kv);
  const TensorView compressed = kv.columns(0, rank);
  add_norm(builder, compressed, layer.kv_norm, params_.norm_eps, compressed);
  const TensorView key = kv.reshaped({tokens, 1, rank + n_rot});
  builder.add(
      Rope{.x = key.columns(rank, n_rot), .table = rope_table, .pairs = RopePairs::kAdjacent});
  builder.add(StoreKv{.k = key, .v = {}, .k_cache = cache.k, .v_cache = {}, .slots = inputs.slots});

  const TensorView absorbed = builder.scratch({tokens, heads, rank + n_rot});
  ExpertMatMul up{.x = q.columns(0, latent_.nope), .ids = {}, .num_parts = 1, .parts = {}};
  up.parts[0] = {.weight = layer.k_up, .bias = {}, .out = absorbed.columns(0, rank)};
  builder.add(up);
  builder.add(Copy{.x = q.columns(latent_.nope, n_rot), .out = absorbed.columns(rank, n_rot)});
  const TensorView attended = builder.scratch({tokens, heads, rank});
  builder.add(Attention{.q = absorbed,
                        .k_cache = cache.k,
                        .v_cache = cache.v,
                        .positions = inputs.positions,
                        .seq_start = inputs.seq_start,
                        .page_table = inputs.page_table,
                        .sinks = {},
                        .out = attended,
                        .scale = scale_});
  const TensorView values = builder.scratch({tokens, heads, latent_.v_dim});
  ExpertMatMul down{.x = attended, .ids = {}, .num_parts = 1, .parts = {}};
  down.parts[0] = {.weight = layer.v_up, .bias = {}, .out = values};
  builder.add(down);
  add_linear(builder, values.reshaped({tokens, heads * latent_.v_dim}), layer.o, residual, true);
}

TensorView DeepSeek2::forward(ProgramBuilder& builder, const StepInputs& inputs,
                              const std::vector<KvLayer>& cache) const {
  const int64_t tokens = inputs.tokens.dim(0), hidden = params_.hidden;
  const TensorView x = builder.scratch({tokens, hidden});  // the residual stream
  builder.add(GatherRows{.table = embedding_, .ids = inputs.tokens, .out = x});
  const TensorView rope_table = tables_.add_table(builder, inputs);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const TensorView attention_in = builder.scratch({tokens, hidden});
    add_norm(builder, x, layer.attention_norm, params_.norm_eps, attention_in);
    add_latent_attention(builder, layer, inputs, rope_table, cache[i], attention_in, x);
    const TensorView ffn_in = builder.scratch({tokens, hidden});
    add_norm(builder, x, layer.ffn_norm, params_.norm_eps, ffn_in);
    if (static_cast<int64_t>(i) < num_dense_) {
      add_feed_forward(builder, layer.ffn, Activation::kSilu, ffn_in, x);
    } else {
      add_experts(builder, layer.experts, *expert_settings_, ffn_in, x);
    }
  }
  const int64_t rows = inputs.logit_rows.dim(0);
  const TensorView last = builder.scratch({rows, hidden});
  builder.add(GatherRows{.table = x, .ids = inputs.logit_rows, .out = last});
  add_norm(builder, last, output_norm_, params_.norm_eps, last);
  if (inputs.wants_hidden) return last;
  const TensorView logits = builder.scratch({rows, info_.vocab_size});
  add_linear(builder, last, output_, logits);
  return logits;
}

}  // namespace

Result<std::unique_ptr<Model>> load_deepseek2(std::shared_ptr<const TensorDirectory> file,
                                              Backend& backend) {
  auto model = std::make_unique<DeepSeek2>();
  TRY(model->load(std::move(file), backend));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace realm
