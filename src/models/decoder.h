// The plain pre-norm decoder that Llama and its closest relatives are: embedding, layers of
// attention and gated feed-forward around a residual stream, final norm, output. Families differ in
// the settings below; one that differs in more writes its own forward from blocks.h.
#pragma once

#include <memory>

#include "models/blocks.h"
#include "models/model.h"

namespace realm {

struct DecoderSettings {
  RopePairs rope_pairs = RopePairs::kAdjacent;
  Activation activation = Activation::kSilu;
  bool require_qk_norm = false;  // per-head norms of q and k have to be there
};

Result<std::unique_ptr<Model>> load_decoder(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend, const std::string& architecture,
                                            const DecoderSettings& settings);

}  // namespace realm
