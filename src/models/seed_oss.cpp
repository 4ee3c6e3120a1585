// Seed-OSS: a Llama decoder with biases on q, k and v, pairs rotated by halves. In its files the
// norm before the feed-forward is called post_attention_norm.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_seed_oss(std::shared_ptr<const TensorDirectory> file,
                                             Backend& backend) {
  return load_decoder(std::move(file), backend, "seed_oss",
                      {.rope_pairs = RopePairs::kHalves,
                       .attention = {.qkv_bias = Bias::kRequired},
                       .ffn_norm_name = "post_attention_norm"});
}

}  // namespace realm
