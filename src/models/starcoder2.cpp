// StarCoder 2: layer norms, a feed-forward without a gate, biases everywhere.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_starcoder2(std::shared_ptr<const TensorDirectory> file,
                                               Backend& backend) {
  return load_decoder(std::move(file), backend, "starcoder2",
                      {.rope_pairs = RopePairs::kHalves,
                       .activation = Activation::kGeluTanh,
                       .norm = NormKind::kLayer,
                       .ffn_form = FeedForwardForm::kPlain});
}

}  // namespace realm
