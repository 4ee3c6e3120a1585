// Gemma 3 (text): as Gemma 2, with norms of each head of q and k in place of the soft cap, and five
// layers with a sliding window and rotations of their own base before each one without.
#include <cmath>

#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_gemma3(std::shared_ptr<const TensorDirectory> file,
                                           Backend& backend) {
  const Metadata& metadata = file->metadata();
  const TransformerParams params = TRY(read_transformer_params(metadata, "gemma3"));
  DecoderSettings settings{.rope_pairs = RopePairs::kHalves,
                           .activation = Activation::kGeluTanh,
                           .attention = {.qk_norm = AttentionParts::QkNorm::kHead},
                           .post_norms = true,
                           .embedding_scale = std::sqrt(static_cast<float>(params.hidden))};
  if (metadata.contains("gemma3.final_logit_softcapping")) {
    settings.logit_soft_cap = TRY(read_positive(metadata, "gemma3.final_logit_softcapping", 30.0));
  }
  // As in Gemma 2, the 27B model (62 layers) alone divides by another number than the head size.
  if (params.layers == 62) {
    settings.attention_scale = 1.0f / std::sqrt(static_cast<float>(params.hidden / params.heads));
  }
  settings.ropes.push_back(TRY(read_rope_frequencies(
      *file, "gemma3", params.n_rot, params.trained_context, {.default_base = 1e6})));
  settings.ropes.push_back(
      TRY(read_rope_frequencies(*file, "gemma3", params.n_rot, params.trained_context,
                                {.base = "freq_base_swa", .scaled = false})));
  constexpr int64_t kPattern = 6;
  const int64_t window = TRY(read_window(metadata, "gemma3", params.trained_context));
  for (int64_t i = 0; i < params.layers; ++i) {
    const bool is_global = i % kPattern == kPattern - 1;
    settings.layers.push_back({.window = is_global ? 0 : window, .rope = is_global ? 0 : 1});
  }
  return load_decoder(std::move(file), backend, "gemma3", params, std::move(settings));
}

}  // namespace realm
