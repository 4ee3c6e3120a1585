// Looks for weights that are not finite numbers: a damaged file gives a clear error that names the
// tensor, where it would otherwise give nonsense.
#pragma once

#include "base/result.h"
#include "formats/tensor_directory.h"

namespace realm {

// Error kBadModel naming the first tensor that holds NaN or infinity.
Status check_weights(const TensorDirectory& file);

}  // namespace realm
