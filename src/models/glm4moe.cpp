// GLM-4.5: biases on q, k and v, norms of their heads in the larger model, half of each head
// rotated; dense layers first, then mixtures of experts chosen by biased sigmoids, one of them
// shared. In its files the norm before the feed-forward is called post_attention_norm, and the
// layers of its predictor of further tokens, which are not used, come last.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_glm4moe(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend) {
  const Metadata& metadata = file->metadata();
  TransformerParams params = TRY(read_transformer_params(metadata, "glm4moe"));
  params.layers -=
      TRY(metadata.get_int_or("glm4moe.nextn_predict_layers", 0, 0, params.layers - 1));
  const int64_t dense =
      TRY(metadata.get_int_or("glm4moe.leading_dense_block_count", 0, 0, params.layers));
  DecoderSettings settings{
      .rope_pairs = RopePairs::kHalves,
      .attention = {.qkv_bias = Bias::kRequired, .qk_norm = AttentionParts::QkNorm::kOptional},
      .ffn_norm_name = "post_attention_norm"};
  settings.experts = TRY(read_expert_settings(
      metadata, "glm4moe", params.ffn,
      {.score = RouterScore::kSigmoid, .normalize = true, .choice_bias = true}));
  for (int64_t i = 0; i < params.layers; ++i) settings.layers.push_back({.experts = i >= dense});
  return load_decoder(std::move(file), backend, "glm4moe", params, std::move(settings));
}

}  // namespace realm
