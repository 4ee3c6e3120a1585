// ERNIE 4.5 with mixtures of experts: dense layers first, then experts chosen by their biased
// softmax with shared ones beside them.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_ernie4_5_moe(std::shared_ptr<const TensorDirectory> file,
                                                 Backend& backend) {
  const Metadata& metadata = file->metadata();
  const std::string arch = "ernie4_5-moe";
  const TransformerParams params = TRY(read_transformer_params(metadata, arch));
  const int64_t dense =
      TRY(metadata.get_int_or(arch + ".leading_dense_block_count", 0, 0, params.layers));
  const int64_t step =
      TRY(metadata.get_int_or(arch + ".interleave_moe_layer_step", 1, 1, params.layers));
  DecoderSettings settings{.rope_pairs = RopePairs::kAdjacent};
  settings.experts = TRY(
      read_expert_settings(metadata, arch, params.ffn, {.normalize = true, .choice_bias = true}));
  for (int64_t i = 0; i < params.layers; ++i) {
    settings.layers.push_back({.experts = i >= dense && (i + 1) % step == 0});
  }
  return load_decoder(std::move(file), backend, arch, params, std::move(settings));
}

}  // namespace realm
