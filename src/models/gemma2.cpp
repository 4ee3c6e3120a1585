// Gemma 2 (Riviere et al. 2024): norms before and after each branch, embeddings scaled by the
// square root of their size, soft caps on attention scores and logits, every other layer with a
// sliding window. Its files hold norm weights with their 1 added.
#include <cmath>

#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_gemma2(std::shared_ptr<const TensorDirectory> file,
                                           Backend& backend) {
  const Metadata& metadata = file->metadata();
  const TransformerParams params = TRY(read_transformer_params(metadata, "gemma2"));
  DecoderSettings settings{
      .rope_pairs = RopePairs::kHalves,
      .activation = Activation::kGeluTanh,
      .post_norms = true,
      .embedding_scale = std::sqrt(static_cast<float>(params.hidden)),
      .attention_soft_cap = TRY(read_positive(metadata, "gemma2.attn_logit_softcapping", 50.0)),
      .logit_soft_cap = TRY(read_positive(metadata, "gemma2.final_logit_softcapping", 30.0))};
  // The file does not say what the 27B model divides its queries by; its 46 layers tell it apart.
  if (params.layers == 46) {
    settings.attention_scale = 1.0f / std::sqrt(static_cast<float>(params.hidden / params.heads));
  }
  const int64_t window = TRY(read_window(metadata, "gemma2", params.trained_context));
  for (int64_t i = 0; i < params.layers; ++i) {
    settings.layers.push_back({.window = i % 2 == 0 ? window : 0});
  }
  return load_decoder(std::move(file), backend, "gemma2", params, std::move(settings));
}

}  // namespace realm
