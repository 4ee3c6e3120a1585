// RMS norms: one warp a row for the short rows of heads, one block a row for hidden states. Moves
// each element twice; limited by memory for many rows and by latency for one.
#include "backends/cuda/context.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {
namespace {

constexpr int kShortRow = 256;
constexpr int kThreads = 256;

__global__ void norm_short_rows(Rows x, const float* weight, Rows out, int64_t num_rows, int dim,
                                float eps) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= num_rows) return;
  const int lane = threadIdx.x % 32;
  const float* in = x.row(row);
  float* to = out.row(row);
  float values[kShortRow / 32], sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kShortRow / 32; ++i) {
    const int d = lane + 32 * i;
    values[i] = d < dim ? in[d] : 0.0f;
    sum += values[i] * values[i];
  }
  const float scale = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(dim) + eps);
#pragma unroll
  for (int i = 0; i < kShortRow / 32; ++i) {
    const int d = lane + 32 * i;
    if (d < dim) to[d] = values[i] * scale * weight[d];
  }
}

__global__ void __launch_bounds__(kThreads)
    norm_rows(Rows x, const float* weight, Rows out, int64_t dim, float eps) {
  const float* in = x.row(blockIdx.x);
  float* to = out.row(blockIdx.x);
  float sum = 0.0f;
  for (int64_t d = threadIdx.x; d < dim; d += kThreads) sum += in[d] * in[d];
  const float scale = 1.0f / sqrtf(block_sum<kThreads>(sum) / static_cast<float>(dim) + eps);
  for (int64_t d = threadIdx.x; d < dim; d += kThreads) to[d] = in[d] * scale * weight[d];
}

__global__ void __launch_bounds__(kThreads)
    layer_norm_rows(Rows x, const float* weight, const float* bias, Rows out, int64_t dim,
                    float eps) {
  const float* in = x.row(blockIdx.x);
  float* to = out.row(blockIdx.x);
  float sum = 0.0f;
  for (int64_t d = threadIdx.x; d < dim; d += kThreads) sum += in[d];
  const float mean = block_sum<kThreads>(sum) / static_cast<float>(dim);
  float squares = 0.0f;
  for (int64_t d = threadIdx.x; d < dim; d += kThreads) squares += (in[d] - mean) * (in[d] - mean);
  __syncthreads();  // the sums of before have been read
  const float scale = 1.0f / sqrtf(block_sum<kThreads>(squares) / static_cast<float>(dim) + eps);
  for (int64_t d = threadIdx.x; d < dim; d += kThreads) {
    float y = (in[d] - mean) * scale;
    if (weight != nullptr) y *= weight[d];
    if (bias != nullptr) y += bias[d];
    to[d] = y;
  }
}

}  // namespace

Status run(Context& context, const LayerNorm& op) {
  const int64_t rows = op.x.num_rows();
  if (rows == 0) return {};
  layer_norm_rows<<<static_cast<unsigned>(rows), kThreads, 0, context.stream>>>(
      Rows(op.x), op.weight.as<const float>(), op.bias.as<const float>(), Rows(op.out),
      op.x.last_dim(), op.eps);
  return check_launch("layer_norm");
}

Status run(Context& context, const RmsNorm& op) {
  const int64_t rows = op.x.num_rows(), dim = op.x.last_dim();
  if (rows == 0) return {};
  const float* weight = op.weight.as<const float>();
  if (dim <= kShortRow) {
    constexpr int kWarps = 4;
    norm_short_rows<<<static_cast<unsigned>((rows + kWarps - 1) / kWarps), 32 * kWarps, 0,
                      context.stream>>>(Rows(op.x), weight, Rows(op.out), rows,
                                        static_cast<int>(dim), op.eps);
  } else {
    norm_rows<<<static_cast<unsigned>(rows), kThreads, 0, context.stream>>>(
        Rows(op.x), weight, Rows(op.out), dim, op.eps);
  }
  return check_launch("rms_norm");
}

}  // namespace realm::cuda
