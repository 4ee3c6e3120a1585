// MiniMax-M2: norms over all heads of q and of k together, part of each head rotated, every
// feed-forward a mixture of experts chosen by biased sigmoids.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_minimax_m2(std::shared_ptr<const TensorDirectory> file,
                                               Backend& backend) {
  const TransformerParams params = TRY(read_transformer_params(file->metadata(), "minimax-m2"));
  DecoderSettings settings{.rope_pairs = RopePairs::kHalves,
                           .attention = {.qk_norm = AttentionParts::QkNorm::kAll}};
  settings.experts = TRY(read_expert_settings(
      file->metadata(), "minimax-m2", params.ffn,
      {.score = RouterScore::kSigmoid, .normalize = true, .choice_bias = true}));
  return load_decoder(std::move(file), backend, "minimax-m2", params, std::move(settings));
}

}  // namespace realm
