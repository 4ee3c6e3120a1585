// ERNIE 4.5 (dense): a Llama decoder.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_ernie4_5(std::shared_ptr<const TensorDirectory> file,
                                             Backend& backend) {
  return load_decoder(std::move(file), backend, "ernie4_5", {.rope_pairs = RopePairs::kAdjacent});
}

}  // namespace realm
