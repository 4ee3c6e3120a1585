// Qwen2 and Qwen2.5 (dense): a Llama decoder with biases on q, k and v, pairs rotated by halves.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_qwen2(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  return load_decoder(
      std::move(file), backend, "qwen2",
      {.rope_pairs = RopePairs::kHalves, .attention = {.qkv_bias = Bias::kRequired}});
}

}  // namespace realm
