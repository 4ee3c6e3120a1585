// Hunyuan (dense): a Llama decoder with norms of each head of q and k after their rotation.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_hunyuan_dense(std::shared_ptr<const TensorDirectory> file,
                                                  Backend& backend) {
  return load_decoder(
      std::move(file), backend, "hunyuan-dense",
      {.rope_pairs = RopePairs::kHalves,
       .attention = {.qk_norm = AttentionParts::QkNorm::kHead, .norm_after_rope = true}});
}

}  // namespace realm
