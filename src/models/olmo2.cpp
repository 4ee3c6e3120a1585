// OLMo 2 and 3: norms after each branch in place of before, and over all heads of q and of k
// together. OLMo 3 has layers with a sliding window, whose rotations are not scaled.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_olmo2(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  const Metadata& metadata = file->metadata();
  const TransformerParams params = TRY(read_transformer_params(metadata, "olmo2"));
  DecoderSettings settings{.rope_pairs = RopePairs::kHalves,
                           .attention = {.qk_norm = AttentionParts::QkNorm::kAll},
                           .pre_norms = false,
                           .post_norms = true};
  if (!metadata.contains("olmo2.attention.sliding_window")) {
    return load_decoder(std::move(file), backend, "olmo2", params, std::move(settings));
  }
  settings.ropes.push_back(
      TRY(read_rope_frequencies(*file, "olmo2", params.n_rot, params.trained_context)));
  settings.ropes.push_back(TRY(read_rope_frequencies(*file, "olmo2", params.n_rot,
                                                     params.trained_context, {.scaled = false})));
  constexpr int64_t kPattern = 4;
  const int64_t window = TRY(read_window(metadata, "olmo2", params.trained_context));
  for (int64_t i = 0; i < params.layers; ++i) {
    const bool is_global = i % kPattern == kPattern - 1;
    settings.layers.push_back({.window = is_global ? 0 : window, .rope = is_global ? 0 : 1});
  }
  return load_decoder(std::move(file), backend, "olmo2", params, std::move(settings));
}

}  // namespace realm
