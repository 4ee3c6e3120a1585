// RMS norms: one warp a row for the short rows of heads, one block a row for hidden states. Moves
// each element twice; limited by memory for many rows and by latency for one.
#include "backends/cuda/norm.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {
namespace {

constexpr int kShortRow = 256;
constexpr int kThreads = 256;

// Of short rows.
struct ShortNorm {
  Rows x, out;
  const float* weight;
  int64_t num_rows;
  int dim;
  float eps;

  explicit ShortNorm(const RmsNorm& op)
      : x(op.x),
        out(op.out),
        weight(op.weight.as<const float>()),
        num_rows(op.x.num_rows()),
        dim(static_cast<int>(op.x.last_dim())),
        eps(op.eps) {}
};

// Rows of one norm, then of another, which may have none.
__global__ void norm_short_rows(const ShortNorm first, const ShortNorm second) {
  may_start_next();
  wait_for_inputs();
  int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const bool is_first = row < first.num_rows;
  const ShortNorm& norm = is_first ? first : second;
  if (!is_first) row -= first.num_rows;
  if (row >= norm.num_rows) return;
  const int lane = threadIdx.x % 32, dim = norm.dim;
  const float* in = norm.x.row(row);
  float* to = norm.out.row(row);
  float values[kShortRow / 32], sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kShortRow / 32; ++i) {
    const int d = lane + 32 * i;
    values[i] = d < dim ? in[d] : 0.0f;
    sum += values[i] * values[i];
  }
  const float scale = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(dim) + norm.eps);
#pragma unroll
  for (int i = 0; i < kShortRow / 32; ++i) {
    const int d = lane + 32 * i;
    if (d < dim) to[d] = values[i] * scale * norm.weight[d];
  }
}

constexpr int kWideThreads = 512, kWidePieces = 4;

// Rows whose pieces of 16 bytes a block has in registers.
__global__ void __launch_bounds__(kWideThreads)
    norm_wide_rows(Rows x, const float* weight, Rows out, int dim, float eps) {
  may_start_next();
  wait_for_inputs();
  const float* in = x.row(blockIdx.x);
  float* to = out.row(blockIdx.x);
  float4 values[kWidePieces];
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kWidePieces; ++i) {
    const int d = 4 * (static_cast<int>(threadIdx.x) + i * kWideThreads);
    if (d >= dim) break;
    const float4 v = *reinterpret_cast<const float4*>(in + d);
    values[i] = v;
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  const float scale = 1.0f / sqrtf(block_sum<kWideThreads>(sum) / static_cast<float>(dim) + eps);
#pragma unroll
  for (int i = 0; i < kWidePieces; ++i) {
    const int d = 4 * (static_cast<int>(threadIdx.x) + i * kWideThreads);
    if (d >= dim) break;
    const float4 v = values[i], w = *reinterpret_cast<const float4*>(weight + d);
    *reinterpret_cast<float4*>(to + d) = {v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z,
                                          v.w * scale * w.w};
  }
}

bool rows_of_16_bytes(const TensorView& view) {
  if (reinterpret_cast<uintptr_t>(view.data) % 16 != 0) return false;
  for (int i = 0; i + 1 < view.rank; ++i) {
    if (view.stride[i] % 16 != 0) return false;
  }
  return true;
}

Status launch_short(Context& context, const ShortNorm& first, const ShortNorm& second) {
  constexpr int kWarps = 4;
  const int64_t rows = first.num_rows + second.num_rows;
  return launch("rms_norm", norm_short_rows, static_cast<unsigned>((rows + kWarps - 1) / kWarps),
                32 * kWarps, 0, context.stream, first, second);
}

__global__ void __launch_bounds__(kThreads)
    norm_rows(Rows x, const float* weight, Rows out, int64_t dim, float eps) {
  may_start_next();
  wait_for_inputs();
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
  if (dim <= kShortRow) {
    const ShortNorm norm(op);
    ShortNorm none = norm;
    none.num_rows = 0;
    return launch_short(context, norm, none);
  }
  const float* weight = op.weight.as<const float>();
  if (dim % 4 == 0 && dim <= 4 * kWideThreads * kWidePieces && rows_of_16_bytes(op.x) &&
      rows_of_16_bytes(op.out) && rows_of_16_bytes(op.weight)) {
    return launch("rms_norm", norm_wide_rows, static_cast<unsigned>(rows), kWideThreads, 0,
                  context.stream, Rows(op.x), weight, Rows(op.out), static_cast<int>(dim), op.eps);
  }
  return launch("rms_norm", norm_rows, static_cast<unsigned>(rows), kThreads, 0, context.stream,
                Rows(op.x), weight, Rows(op.out), dim, op.eps);
}

Result<bool> norm_both(Context& context, const RmsNorm& first, const RmsNorm& second) {
  if (first.x.last_dim() > kShortRow || second.x.last_dim() > kShortRow ||
      first.x.num_rows() == 0 || second.x.num_rows() == 0) {
    return false;
  }
  TRY(launch_short(context, ShortNorm(first), ShortNorm(second)));
  return true;
}

}  // namespace realm::cuda
