// Nemotron and Minitron: layer norms (whose files hold weights with their 1 added), part of each
// head rotated, a feed-forward without a gate and a squared ReLU.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_nemotron(std::shared_ptr<const TensorDirectory> file,
                                             Backend& backend) {
  return load_decoder(std::move(file), backend, "nemotron",
                      {.rope_pairs = RopePairs::kHalves,
                       .activation = Activation::kReluSquared,
                       .norm = NormKind::kLayer,
                       .ffn_form = FeedForwardForm::kPlain});
}

}  // namespace realm
