// Products of F32 weights in single precision throughout, for models that are stored so to be
// exact. 64 x 64 outputs a block through shared memory; limited by the FP32 units (67 TFLOP/s on
// Hopper).
#include "backends/cuda/matmul_f32.cuh"

namespace realm::cuda {
namespace {

constexpr int kTile = 64, kDeep = 16, kThreads = 256;

struct Part {
  const float* weight;  // [rows, k]
  const float* bias;
  float* out;
  int64_t out_stride;
  int rows;
};

__global__ void __launch_bounds__(kThreads)
    multiply(Part part, Rows x, int tokens, int k, bool accumulate) {
  __shared__ float w_tile[kDeep][kTile + 1], x_tile[kDeep][kTile + 1];
  const int row0 = static_cast<int>(blockIdx.x) * kTile,
            token0 = static_cast<int>(blockIdx.y) * kTile;
  const int tr = static_cast<int>(threadIdx.x) % 16, tt = static_cast<int>(threadIdx.x) / 16;
  float acc[4][4] = {};
  for (int k0 = 0; k0 < k; k0 += kDeep) {
    for (int i = static_cast<int>(threadIdx.x); i < kTile * kDeep; i += kThreads) {
      const int d = i % kDeep, r = i / kDeep;
      const bool inside = k0 + d < k;
      w_tile[d][r] = inside && row0 + r < part.rows
                         ? part.weight[static_cast<int64_t>(row0 + r) * k + k0 + d]
                         : 0.0f;
      x_tile[d][r] = inside && token0 + r < tokens ? x.row(token0 + r)[k0 + d] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int d = 0; d < kDeep; ++d) {
      float w[4], v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        w[i] = w_tile[d][tr + 16 * i];
        v[i] = x_tile[d][tt + 16 * i];
      }
#pragma unroll
      for (int t = 0; t < 4; ++t) {
#pragma unroll
        for (int r = 0; r < 4; ++r) acc[t][r] += v[t] * w[r];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int t = 0; t < 4; ++t) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int token = token0 + tt + 16 * t, row = row0 + tr + 16 * r;
      if (token >= tokens || row >= part.rows) continue;
      float value = acc[t][r];
      if (part.bias != nullptr) value += part.bias[row];
      float* out = part.out + token * part.out_stride + row;
      *out = accumulate ? *out + value : value;
    }
  }
}

}  // namespace

Status matmul_f32(Context& context, const MatMul& op) {
  const auto tokens = static_cast<int>(op.x.dim(0)), k = static_cast<int>(op.x.dim(1));
  for (int i = 0; i < op.num_parts; ++i) {
    const MatMul::Part& p = op.parts[i];
    if (p.weight.dtype != DType::kF32 || p.weight.dim(0) == 0) continue;
    const Part part{.weight = p.weight.as<const float>(),
                    .bias = p.bias.empty() ? nullptr : p.bias.as<const float>(),
                    .out = p.out.as<float>(),
                    .out_stride = p.out.stride[0] / static_cast<int64_t>(sizeof(float)),
                    .rows = static_cast<int>(p.weight.dim(0))};
    const dim3 grid(static_cast<unsigned>((part.rows + kTile - 1) / kTile),
                    static_cast<unsigned>((tokens + kTile - 1) / kTile));
    multiply<<<grid, kThreads, 0, context.stream>>>(part, Rows(op.x), tokens, k, op.accumulate);
    TRY(check_launch("matmul"));
  }
  return {};
}

}  // namespace realm::cuda
