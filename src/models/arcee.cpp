// Arcee's AFM: a Llama decoder whose feed-forward has no gate and a squared ReLU.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_arcee(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  return load_decoder(std::move(file), backend, "arcee",
                      {.rope_pairs = RopePairs::kAdjacent,
                       .activation = Activation::kReluSquared,
                       .ffn_form = FeedForwardForm::kPlain});
}

}  // namespace realm
