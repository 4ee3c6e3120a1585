// Phi-3 and Phi-4: a Llama decoder whose q, k and v share one tensor and whose gate and up another;
// contexts beyond the original one by LongRoPE's factors.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_phi3(std::shared_ptr<const TensorDirectory> file,
                                         Backend& backend) {
  return load_decoder(std::move(file), backend, "phi3",
                      {.rope_pairs = RopePairs::kHalves,
                       .attention = {.fused_qkv = true},
                       .ffn_form = FeedForwardForm::kFusedGateUp});
}

}  // namespace realm
