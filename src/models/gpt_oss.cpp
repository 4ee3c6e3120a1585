// gpt-oss: biases everywhere, a sink logit for each head, every other layer with a sliding window,
// mixtures of experts whose weights are a softmax over the chosen and whose gates are clamped. In
// its files the norm before the feed-forward is called post_attention_norm.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_gpt_oss(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend) {
  const Metadata& metadata = file->metadata();
  const TransformerParams params = TRY(read_transformer_params(metadata, "gpt-oss"));
  DecoderSettings settings{.rope_pairs = RopePairs::kHalves,
                           .attention = {.qkv_bias = Bias::kRequired, .sinks = true},
                           .ffn_norm_name = "post_attention_norm"};
  settings.experts = TRY(read_expert_settings(metadata, "gpt-oss", params.ffn,
                                              {.score = RouterScore::kSoftmaxOfChosen,
                                               .activation = Activation::kSwigluClamped,
                                               .bias = Bias::kRequired}));
  settings.ropes.push_back(TRY(read_rope_frequencies(*file, "gpt-oss", params.n_rot,
                                                     params.trained_context, {.truncate = false})));
  const int64_t window = TRY(read_window(metadata, "gpt-oss", params.trained_context));
  for (int64_t i = 0; i < params.layers; ++i) {
    settings.layers.push_back({.window = i % 2 == 0 ? window : 0, .experts = true});
  }
  return load_decoder(std::move(file), backend, "gpt-oss", params, std::move(settings));
}

}  // namespace realm
