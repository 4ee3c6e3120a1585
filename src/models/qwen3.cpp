// Qwen3 (dense): a Llama decoder with RMS norms on each head of q and k, pairs rotated by halves.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_qwen3(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  return load_decoder(
      std::move(file), backend, "qwen3",
      {.rope_pairs = RopePairs::kHalves, .attention = {.qk_norm = AttentionParts::QkNorm::kHead}});
}

}  // namespace realm
