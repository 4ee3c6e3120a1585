// GLM-4 (0414): norms before and after each branch, biases on q, k and v, gate and up in one
// tensor, half of each head rotated in adjacent pairs.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_glm4(std::shared_ptr<const TensorDirectory> file,
                                         Backend& backend) {
  return load_decoder(std::move(file), backend, "glm4",
                      {.rope_pairs = RopePairs::kAdjacent,
                       .attention = {.qkv_bias = Bias::kRequired},
                       .ffn_form = FeedForwardForm::kFusedGateUp,
                       .post_norms = true});
}

}  // namespace realm
