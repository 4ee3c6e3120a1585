// StableLM: layer norms around a gated feed-forward, part of each head rotated. Its 12B model, with
// norms of each head and one residual for both branches, is refused.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_stablelm(std::shared_ptr<const TensorDirectory> file,
                                             Backend& backend) {
  if (TRY(file->metadata().get_bool_or("stablelm.use_parallel_residual", false)) ||
      file->find("blk.0.attn_q_norm.weight") != nullptr) {
    return Error{ErrorCode::kUnsupported,
                 "stablelm.use_parallel_residual: models with parallel residuals or norms of q and "
                 "k are not supported"};
  }
  return load_decoder(std::move(file), backend, "stablelm",
                      {.rope_pairs = RopePairs::kHalves, .norm = NormKind::kLayer});
}

}  // namespace realm
