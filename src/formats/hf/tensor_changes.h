// What becomes of a checkpoint's tensor whose numbers lie otherwise in GGUF: transposed experts,
// gates and ups that alternate, the two halves of latent attention's expansion.
#pragma once

#include <memory>
#include <vector>

#include "formats/hf/family.h"
#include "formats/metadata.h"
#include "formats/tensor_directory.h"

namespace realm::hf {

struct ChangedTensor {
  std::vector<int64_t> shape;
  std::shared_ptr<const std::vector<std::byte>> bytes;  // of the source's type
};

// Whether `change` moves single elements, so that change_elements has to do it.
bool moves_elements(TensorChange change);

// Heads and their sizes come from the metadata of `architecture`. Error kBadModel where the
// source's shape does not fit them.
Result<ChangedTensor> change_elements(const TensorInfo& source, TensorChange change,
                                      const Metadata& metadata, const std::string& architecture);

}  // namespace realm::hf
