// GPT-NeoX and Pythia: layer norms, q, k and v in one tensor, part of each head rotated, a
// feed-forward without a gate; both branches read the same residual, each through its norm, or in a
// few models one after the other.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_gptneox(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend) {
  const bool parallel = TRY(file->metadata().get_bool_or("gptneox.use_parallel_residual", true));
  return load_decoder(std::move(file), backend, "gptneox",
                      {.rope_pairs = RopePairs::kHalves,
                       .activation = Activation::kGelu,
                       .norm = NormKind::kLayer,
                       .attention = {.fused_qkv = true},
                       .ffn_form = FeedForwardForm::kPlain,
                       .parallel = parallel});
}

}  // namespace realm
