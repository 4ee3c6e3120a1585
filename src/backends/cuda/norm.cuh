#pragma once

#include "backends/cuda/context.cuh"

namespace realm::cuda {

// Two norms of short rows, neither of which reads or overwrites what the other writes, as one
// kernel; false where no kernel does that.
Result<bool> norm_both(Context& context, const RmsNorm& first, const RmsNorm& second);

}  // namespace realm::cuda
