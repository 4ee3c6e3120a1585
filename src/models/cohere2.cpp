// Command R7B and A: attention and feed-forward read one layer norm without bias and both add to
// the residual; three layers with a sliding window and rotation before each one with neither;
// logits scaled.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_cohere2(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend) {
  const Metadata& metadata = file->metadata();
  const TransformerParams params =
      TRY(read_transformer_params(metadata, "cohere2", NormKind::kLayer));
  DecoderSettings settings{.rope_pairs = RopePairs::kAdjacent,
                           .norm = NormKind::kLayer,
                           .parallel = true,
                           .logit_scale = TRY(read_positive(metadata, "cohere2.logit_scale", 1.0))};
  constexpr int64_t kPattern = 4;
  const int64_t window = TRY(read_window(metadata, "cohere2", params.trained_context));
  for (int64_t i = 0; i < params.layers; ++i) {
    const bool is_global = i % kPattern == kPattern - 1;
    settings.layers.push_back({.window = is_global ? 0 : window, .rope = is_global ? -1 : 0});
  }
  return load_decoder(std::move(file), backend, "cohere2", params, std::move(settings));
}

}  // namespace realm
