// Products with one of many matrices, chosen for each token and slot, in single precision from the
// blocks as they are: a warp gives one output row of one (token, slot). Each pair reads its matrix
// through the L2 cache, so that this is as fast as memory for few tokens and wasteful for many.
#include <algorithm>
#include <array>

#include "backends/cuda/context.cuh"
#include "backends/cuda/reduce.cuh"
#include "formats/quant/quant_table.h"

namespace realm::cuda {
namespace {

constexpr int kWarps = 8;

struct ExpertProduct {
  const uint8_t* weight;
  int64_t expert_stride, row_stride;  // bytes
  const float* bias;                  // [experts, rows], or null
  int64_t bias_stride;                // bytes
  const std::byte* x;
  int64_t x_token_stride, x_slot_stride;  // bytes; slot stride 0: one x for all slots
  const std::byte* ids;                   // or null
  int64_t ids_stride;
  std::byte* out;
  int64_t out_token_stride, out_slot_stride;
  int rows, k, slots;
  const IqGrids* grids;
};

// The part of a row's product that falls to a lane.
template <DType kType>
__device__ float lane_product(const ExpertProduct& p, const uint8_t* row, const float* x,
                              int lane) {
  float sum = 0.0f;
  if constexpr (kType == DType::kF32) {
    for (int i = lane; i < p.k; i += 32) sum += reinterpret_cast<const float*>(row)[i] * x[i];
  } else if constexpr (kType == DType::kF16) {
    for (int i = lane; i < p.k; i += 32) {
      sum += __half2float(reinterpret_cast<const __half*>(row)[i]) * x[i];
    }
  } else if constexpr (kType == DType::kBF16) {
    for (int i = lane; i < p.k; i += 32) {
      sum += __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[i]) * x[i];
    }
  } else {
    for (int i = lane; i < p.k / 16; i += 32) {
      float values[16];
      RawBlock<kType>::decode16(row, i / 2, i % 2, *p.grids, values);
#pragma unroll
      for (int j = 0; j < 16; ++j) sum += values[j] * x[16 * i + j];
    }
  }
  return sum;
}

template <DType kType>
__global__ void __launch_bounds__(32 * kWarps) multiply(const ExpertProduct p) {
  const int row = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (row >= p.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t token = blockIdx.y / p.slots, slot = blockIdx.y % p.slots;
  const int64_t expert = p.ids == nullptr
                             ? slot
                             : reinterpret_cast<const int32_t*>(p.ids + token * p.ids_stride)[slot];
  const auto* x =
      reinterpret_cast<const float*>(p.x + token * p.x_token_stride + slot * p.x_slot_stride);
  const uint8_t* weight = p.weight + expert * p.expert_stride + row * p.row_stride;
  float sum = warp_sum(lane_product<kType>(p, weight, x, lane));
  if (lane != 0) return;
  if (p.bias != nullptr) {
    sum += reinterpret_cast<const float*>(reinterpret_cast<const std::byte*>(p.bias) +
                                          expert * p.bias_stride)[row];
  }
  reinterpret_cast<float*>(p.out + token * p.out_token_stride + slot * p.out_slot_stride)[row] =
      sum;
}

template <DType kType>
void launch_product(cudaStream_t stream, const ExpertProduct& p, int64_t pairs) {
  const dim3 grid(static_cast<unsigned>((p.rows + kWarps - 1) / kWarps),
                  static_cast<unsigned>(pairs));
  multiply<kType><<<grid, 32 * kWarps, 0, stream>>>(p);
}

struct Row {
  DType type;
  void (*launch)(cudaStream_t, const ExpertProduct&, int64_t);
};

template <DType... kTypes>
constexpr std::array<Row, sizeof...(kTypes)> make_table() {
  return {Row{kTypes, launch_product<kTypes>}...};
}

using enum DType;
constexpr auto kTable =
    make_table<kF32, kF16, kBF16, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kQ8_1, kQ2_K, kQ3_K, kQ4_K,
               kQ5_K, kQ6_K, kQ8_K, kIQ2_XXS, kIQ2_XS, kIQ3_XXS, kIQ1_S, kIQ4_NL, kIQ3_S, kIQ2_S,
               kIQ4_XS, kIQ1_M, kTQ1_0, kTQ2_0, kMXFP4, kNVFP4, kQ1_0, kQ2_0>();

constexpr int64_t kPairsMax = 65535;  // of a grid's second dimension

}  // namespace

Status run(Context& context, const ExpertMatMul& op) {
  const int64_t tokens = op.x.dim(0), slots = op.parts[0].out.dim(1);
  if (tokens * slots == 0) return {};
  for (int i = 0; i < op.num_parts; ++i) {
    const ExpertMatMul::Part& part = op.parts[i];
    const Located at = context.locate(part.weight);
    const auto row = std::find_if(kTable.begin(), kTable.end(),
                                  [&](const Row& r) { return r.type == part.weight.dtype; });
    if (row == kTable.end() || (at.weight != nullptr && at.weight->tiled)) {
      return Error{ErrorCode::kUnsupported,
                   "expert_matmul: no CUDA kernel for " + part.weight.describe()};
    }
    ExpertProduct p{.weight = reinterpret_cast<const uint8_t*>(part.weight.data),
                    .expert_stride = part.weight.stride[0],
                    .row_stride = part.weight.stride[1],
                    .bias = part.bias.empty() ? nullptr : part.bias.as<const float>(),
                    .bias_stride = part.bias.empty() ? 0 : part.bias.stride[0],
                    .x = op.x.data,
                    .x_token_stride = op.x.stride[0],
                    .x_slot_stride = op.x.dim(1) == 1 ? 0 : op.x.stride[1],
                    .ids = op.ids.empty() ? nullptr : op.ids.data,
                    .ids_stride = op.ids.empty() ? 0 : op.ids.stride[0],
                    .out = part.out.data,
                    .out_token_stride = part.out.stride[0],
                    .out_slot_stride = part.out.stride[1],
                    .rows = static_cast<int>(part.weight.dim(1)),
                    .k = static_cast<int>(part.weight.dim(2)),
                    .slots = static_cast<int>(slots),
                    .grids = context.grids};
    const int64_t tokens_at_once = std::max<int64_t>(1, kPairsMax / slots);
    for (int64_t first = 0; first < tokens; first += tokens_at_once) {
      const int64_t count = std::min(tokens_at_once, tokens - first);
      row->launch(context.stream, p, count * slots);
      TRY(check_launch("expert_matmul"));
      p.x += count * p.x_token_stride;
      p.out += count * p.out_token_stride;
      if (p.ids != nullptr) p.ids += count * p.ids_stride;
    }
  }
  return {};
}

}  // namespace realm::cuda
