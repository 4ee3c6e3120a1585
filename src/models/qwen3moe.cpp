// Qwen3 with mixtures of experts: every feed-forward is one, its weights a softmax over all experts
// divided by the sum of the chosen.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_qwen3moe(std::shared_ptr<const TensorDirectory> file,
                                             Backend& backend) {
  const TransformerParams params = TRY(read_transformer_params(file->metadata(), "qwen3moe"));
  DecoderSettings settings{.rope_pairs = RopePairs::kHalves,
                           .attention = {.qk_norm = AttentionParts::QkNorm::kHead}};
  settings.experts =
      TRY(read_expert_settings(file->metadata(), "qwen3moe", params.ffn, {.normalize = true}));
  return load_decoder(std::move(file), backend, "qwen3moe", params, std::move(settings));
}

}  // namespace realm
