// Qwen1.5 and Qwen2 with mixtures of experts: biases on q, k and v; weights are a softmax over all
// experts as it is; a shared expert whose result a sigmoid gate scales.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_qwen2moe(std::shared_ptr<const TensorDirectory> file,
                                             Backend& backend) {
  const TransformerParams params = TRY(read_transformer_params(file->metadata(), "qwen2moe"));
  DecoderSettings settings{.rope_pairs = RopePairs::kHalves,
                           .attention = {.qkv_bias = Bias::kRequired}};
  // Old files give no length: a shared expert is as wide as a dense feed-forward.
  settings.experts = TRY(read_expert_settings(file->metadata(), "qwen2moe", params.ffn,
                                              {.shared_ffn = params.ffn, .shared_gate = true}));
  return load_decoder(std::move(file), backend, "qwen2moe", params, std::move(settings));
}

}  // namespace realm
