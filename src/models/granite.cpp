// Granite 3: a Llama decoder with factors of its own on embeddings, residuals, scores and logits
// (which are divided); dense, or every feed-forward a mixture of experts.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

namespace {

Result<std::unique_ptr<Model>> load(std::shared_ptr<const TensorDirectory> file, Backend& backend,
                                    const std::string& arch, bool experts) {
  const Metadata& metadata = file->metadata();
  const TransformerParams params = TRY(read_transformer_params(metadata, arch));
  DecoderSettings settings{
      .rope_pairs = RopePairs::kAdjacent,
      .embedding_scale = TRY(read_positive(metadata, arch + ".embedding_scale", 1.0)),
      .residual_scale = TRY(read_positive(metadata, arch + ".residual_scale", 1.0)),
      .logit_scale = 1.0f / TRY(read_positive(metadata, arch + ".logit_scale", 1.0))};
  if (metadata.contains(arch + ".attention.scale")) {
    settings.attention_scale = TRY(read_positive(metadata, arch + ".attention.scale", 1.0));
  }
  if (experts) {
    settings.experts = TRY(
        read_expert_settings(metadata, arch, params.ffn, {.score = RouterScore::kSoftmaxOfChosen}));
  }
  return load_decoder(std::move(file), backend, arch, params, std::move(settings));
}

}  // namespace

Result<std::unique_ptr<Model>> load_granite(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend) {
  return load(std::move(file), backend, "granite", false);
}

Result<std::unique_ptr<Model>> load_granitemoe(std::shared_ptr<const TensorDirectory> file,
                                               Backend& backend) {
  return load(std::move(file), backend, "granitemoe", true);
}

}  // namespace realm
