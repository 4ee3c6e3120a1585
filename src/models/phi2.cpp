// Phi-1, 1.5 and 2: attention and feed-forward read one layer norm and both add to the residual;
// part of each head rotated; a feed-forward without a gate; biases everywhere.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_phi2(std::shared_ptr<const TensorDirectory> file,
                                         Backend& backend) {
  const bool fused = file->find("blk.0.attn_qkv.weight") != nullptr;
  return load_decoder(std::move(file), backend, "phi2",
                      {.rope_pairs = RopePairs::kHalves,
                       .activation = Activation::kGeluTanh,
                       .norm = NormKind::kLayer,
                       .attention = {.fused_qkv = fused},
                       .ffn_form = FeedForwardForm::kPlain,
                       .parallel = true});
}

}  // namespace realm
