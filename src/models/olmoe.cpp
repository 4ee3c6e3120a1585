// OLMoE: norms over all heads of q and of k together; every feed-forward a mixture of experts whose
// weights are a softmax over all experts as it is.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_olmoe(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  const TransformerParams params = TRY(read_transformer_params(file->metadata(), "olmoe"));
  DecoderSettings settings{.rope_pairs = RopePairs::kHalves,
                           .attention = {.qk_norm = AttentionParts::QkNorm::kAll}};
  settings.experts = TRY(read_expert_settings(file->metadata(), "olmoe", params.ffn, {}));
  return load_decoder(std::move(file), backend, "olmoe", params, std::move(settings));
}

}  // namespace realm
