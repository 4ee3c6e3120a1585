// ModernBERT (Warner et al. 2024): rotary positions, norms without biases before each branch, a
// gated feed-forward, and every third layer global: the others attend to half a window on either
// side, with their own frequencies.
#include "models/encoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_modern_bert(std::shared_ptr<const TensorDirectory> file,
                                                Backend& backend) {
  const std::string arch = "modern-bert";
  const Metadata& metadata = file->metadata();
  const TransformerParams params = TRY(read_transformer_params(metadata, arch, NormKind::kLayer));
  const int64_t window =
      TRY(metadata.get_int(arch + ".attention.sliding_window", 1, int64_t{1} << 31));
  const int64_t every =
      TRY(metadata.get_int_or(arch + ".attention.sliding_window_pattern", 3, 1, 4096));
  EncoderSettings settings{.attention = {.fused_qkv = true},
                           .ffn_form = FeedForwardForm::kFusedGateUp,
                           .embedding_norm = true,
                           .first_attention_norm = false,
                           .reach = window / 2};
  settings.ropes.push_back(
      TRY(read_rope_frequencies(*file, arch, params.n_rot, params.trained_context)));
  settings.ropes.push_back(TRY(read_rope_frequencies(
      *file, arch, params.n_rot, params.trained_context, {.base = "freq_base_swa"})));
  for (int64_t i = 0; i < params.layers; ++i) {
    const bool local = i % every != 0;
    settings.layers.push_back({.rope = local ? 1 : 0, .local = local});
  }
  return load_encoder(std::move(file), backend, arch, params, std::move(settings));
}

}  // namespace realm
