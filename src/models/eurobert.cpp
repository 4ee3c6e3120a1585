// EuroBERT: Llama's layers, attending both ways.
#include "models/encoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_eurobert(std::shared_ptr<const TensorDirectory> file,
                                             Backend& backend) {
  const TransformerParams params = TRY(read_transformer_params(file->metadata(), "eurobert"));
  EncoderSettings settings{
      .activation = Activation::kSilu, .norm = NormKind::kRms, .ffn_form = FeedForwardForm::kGated};
  settings.ropes.push_back(
      TRY(read_rope_frequencies(*file, "eurobert", params.n_rot, params.trained_context)));
  return load_encoder(std::move(file), backend, "eurobert", params, std::move(settings));
}

}  // namespace realm
