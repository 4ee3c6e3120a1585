// The largest of a row of logits: a block a row. Moves each value once.
#include "backends/cuda/context.cuh"

namespace realm::cuda {
namespace {

constexpr int kThreads = 1024;

struct Best {
  float value;
  int index;
  bool finite;
};

__device__ Best better(const Best& a, const Best& b) {
  const bool take_b = b.value > a.value || (b.value == a.value && b.index < a.index);
  return {take_b ? b.value : a.value, take_b ? b.index : a.index, a.finite && b.finite};
}

__device__ Best warp_best(Best best) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    best = better(best, {__shfl_xor_sync(0xffffffffu, best.value, step),
                         __shfl_xor_sync(0xffffffffu, best.index, step),
                         __shfl_xor_sync(0xffffffffu, static_cast<int>(best.finite), step) != 0});
  }
  return best;
}

__global__ void __launch_bounds__(kThreads) arg_max(Rows x, int n, int32_t* out) {
  __shared__ Best bests[kThreads / 32];
  may_start_next();
  wait_for_inputs();
  const float* row = x.row(blockIdx.x);
  Best best{-INFINITY, 0x7fffffff, true};
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
    const float value = row[i];
    best = better(best, {value, i, static_cast<bool>(isfinite(value))});
  }
  best = warp_best(best);
  if (threadIdx.x % 32 == 0) bests[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  best = warp_best(bests[threadIdx.x]);
  if (threadIdx.x == 0) out[blockIdx.x] = best.finite ? best.index : -1;
}

}  // namespace

Status run(Context& context, const ArgMax& op) {
  if (op.x.dim(0) == 0) return {};
  return launch("argmax", arg_max, static_cast<unsigned>(op.x.dim(0)), kThreads, 0, context.stream,
                Rows(op.x), static_cast<int>(op.x.dim(1)), op.out.as<int32_t>());
}

}  // namespace realm::cuda
