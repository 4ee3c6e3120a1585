// Jais 2: layer norms, biases everywhere, a feed-forward without a gate and a squared ReLU.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_jais2(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  return load_decoder(std::move(file), backend, "jais2",
                      {.rope_pairs = RopePairs::kHalves,
                       .activation = Activation::kReluSquared,
                       .norm = NormKind::kLayer,
                       .ffn_form = FeedForwardForm::kPlain});
}

}  // namespace realm
