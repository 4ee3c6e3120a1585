#pragma once

#include "backends/cuda/context.cuh"

namespace realm::cuda {

// The parts of `op` whose weights are F32.
Status matmul_f32(Context& context, const MatMul& op);

}  // namespace realm::cuda
