// Gemma 1: a Llama decoder with GELU gates and embeddings scaled by the square root of their size.
// Its files hold norm weights with their 1 added.
#include <cmath>

#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_gemma(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  const TransformerParams params = TRY(read_transformer_params(file->metadata(), "gemma"));
  return load_decoder(std::move(file), backend, "gemma", params,
                      {.rope_pairs = RopePairs::kHalves,
                       .activation = Activation::kGeluTanh,
                       .embedding_scale = std::sqrt(static_cast<float>(params.hidden))});
}

}  // namespace realm
