// Llama 1 to 3 and the many models of its shape (Mistral, TinyLlama, ...). GGUF files of this
// architecture hold q and k rows reordered so that rotated pairs are adjacent.
#include "models/decoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_llama(std::shared_ptr<const TensorDirectory> file,
                                          Backend& backend) {
  return load_decoder(std::move(file), backend, "llama", {.rope_pairs = RopePairs::kAdjacent});
}

}  // namespace realm
