// EXAONE 4: norms after each branch in place of before, and of each head of q and k. The 32B model
// has three layers with a sliding window and rotation before each one with neither.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_exaone4(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend) {
  const Metadata& metadata = file->metadata();
  const TransformerParams params = TRY(read_transformer_params(metadata, "exaone4"));
  DecoderSettings settings{.rope_pairs = RopePairs::kHalves,
                           .attention = {.qk_norm = AttentionParts::QkNorm::kHead},
                           .pre_norms = false,
                           .post_norms = true};
  constexpr int64_t kPattern = 4;
  const bool hybrid = metadata.contains("exaone4.attention.sliding_window");
  const int64_t window = TRY(read_window(metadata, "exaone4", params.trained_context));
  for (int64_t i = 0; i < params.layers; ++i) {
    const bool is_global = hybrid && i % kPattern == kPattern - 1;
    settings.layers.push_back({.window = is_global ? 0 : window, .rope = is_global ? -1 : 0});
  }
  return load_decoder(std::move(file), backend, "exaone4", params, std::move(settings));
}

}  // namespace realm
