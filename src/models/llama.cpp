// Llama 1 to 3 and the many models of its shape (Mistral, TinyLlama, ...), and Mixtral, whose
// feed-forwards are mixtures of experts. GGUF files of this architecture hold q and k rows
// reordered so that rotated pairs are adjacent.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_llama(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  const Metadata& metadata = file->metadata();
  const TransformerParams params = TRY(read_transformer_params(metadata, "llama"));
  DecoderSettings settings{.rope_pairs = RopePairs::kAdjacent,
                           .attention = {.qk_norm = AttentionParts::QkNorm::kOptional}};
  // Files of dense models may give an expert count of 0.
  if (TRY(metadata.get_int_or("llama.expert_count", 0, 0, 65536)) > 0) {
    settings.experts =
        TRY(read_expert_settings(metadata, "llama", params.ffn, {.normalize = true}));
  }
  return load_decoder(std::move(file), backend, "llama", params, std::move(settings));
}

}  // namespace realm
