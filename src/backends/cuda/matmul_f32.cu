// Products of F32 weights in single precision throughout, for models that are stored so to be
// exact, and for routers among experts. 64 x 64 outputs a block through shared memory; limited by
// the FP32 units (67 TFLOP/s on Hopper). Matrices of few rows would fill few multiprocessors so:
// there a warp has four or eight rows and eight tokens, its lanes the columns.
#include "backends/cuda/matmul_f32.cuh"
#include "backends/cuda/reduce.cuh"

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

constexpr int kWarps = kThreads / 32, kFewRows = 512;

// Where kSplit, a block's warps have a share of the columns each.
template <int kTokens, int kWarpRows, bool kSplit>
__global__ void __launch_bounds__(kThreads)
    multiply_few_rows(Part part, Rows x, int tokens, int k, bool accumulate) {
  may_start_next();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const auto block = static_cast<int>(blockIdx.x);
  const int row0 = kWarpRows * (kSplit ? block : block * kWarps + warp);
  const int token0 = static_cast<int>(blockIdx.y) * kTokens;
  const float *w[kWarpRows], *v[kTokens];
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
    w[r] = part.weight + static_cast<int64_t>(min(row0 + r, part.rows - 1)) * k;
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) v[t] = x.row(min(token0 + t, tokens - 1));
  wait_for_inputs();
  float acc[kTokens][kWarpRows] = {};
  for (int c = 4 * (lane + (kSplit ? 32 * warp : 0)); c < k; c += 128 * (kSplit ? kWarps : 1)) {
    float4 a[kWarpRows];
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) a[r] = *reinterpret_cast<const float4*>(w[r] + c);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const float4 b = *reinterpret_cast<const float4*>(v[t] + c);
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
        acc[t][r] += a[r].x * b.x + a[r].y * b.y + a[r].z * b.z + a[r].w * b.w;
      }
    }
  }
  __shared__ float partial[kWarps][kTokens * kWarpRows];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      const float sum = warp_sum(acc[t][r]);
      if (lane == 0) partial[warp][t * kWarpRows + r] = sum;
    }
  }
  if (kSplit) {
    __syncthreads();
  } else {
    __syncwarp();
  }
  if (kSplit && warp > 0) return;
  for (int i = lane; i < kTokens * kWarpRows; i += 32) {
    const int token = token0 + i / kWarpRows, row = row0 + i % kWarpRows;
    if (token >= tokens || row >= part.rows) continue;
    float value = kSplit ? 0.0f : partial[warp][i];
    for (int w = 0; kSplit && w < kWarps; ++w) value += partial[w][i];
    if (part.bias != nullptr) value += part.bias[row];
    float* out = part.out + token * part.out_stride + row;
    *out = accumulate ? *out + value : value;
  }
}

bool rows_of_16_bytes(const TensorView& view) {
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && view.stride[0] % 16 == 0;
}

Status launch_few_rows(Context& context, const Part& part, const MatMul& op) {
  const auto tokens = static_cast<int>(op.x.dim(0)), k = static_cast<int>(op.x.dim(1));
  // Splitting changes the order in which a sum is added up.
  const bool split = tokens <= 64 && !context.batch_invariant;
  const int per_block = split ? 4 : 8 * kWarps, per_row = tokens == 1 ? 1 : 8;
  const auto kernel = !split        ? multiply_few_rows<8, 8, false>
                      : tokens == 1 ? multiply_few_rows<1, 4, true>
                                    : multiply_few_rows<8, 4, true>;
  const dim3 grid(static_cast<unsigned>((part.rows + per_block - 1) / per_block),
                  static_cast<unsigned>((tokens + per_row - 1) / per_row));
  return launch("matmul", kernel, grid, kThreads, 0, context.stream, part, Rows(op.x), tokens, k,
                op.accumulate);
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
    if (part.rows <= kFewRows && rows_of_16_bytes(op.x) && rows_of_16_bytes(p.weight) &&
        tokens > 0) {
      TRY(launch_few_rows(context, part, op));
      continue;
    }
    const dim3 grid(static_cast<unsigned>((part.rows + kTile - 1) / kTile),
                    static_cast<unsigned>((tokens + kTile - 1) / kTile));
    multiply<<<grid, kThreads, 0, context.stream>>>(part, Rows(op.x), tokens, k, op.accumulate);
    TRY(check_launch("matmul"));
  }
  return {};
}

}  // namespace realm::cuda
