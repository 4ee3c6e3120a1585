// Products with one of many matrices that are not in tiles, those of F32 above all: in single
// precision from the blocks as they are, a warp one output row of one pair. Each pair reads its
// matrix through the L2 cache, so that this is wasteful for many tokens.
#include <algorithm>
#include <array>

#include "backends/cuda/experts.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {
namespace {

constexpr int kWarps = 8;

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
      RawBlock<kType>::decode16(row, i / 2, i % 2, *p.weight.grids, values);
#pragma unroll
      for (int j = 0; j < 16; ++j) sum += values[j] * x[16 * i + j];
    }
  }
  return sum;
}

template <DType kType>
__global__ void __launch_bounds__(32 * kWarps) multiply(const ExpertProduct p, int first_pair) {
  may_start_next();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (row >= p.weight.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32, part = static_cast<int>(blockIdx.z);
  const int pair = first_pair + static_cast<int>(blockIdx.y), expert = p.expert_of(pair);
  const uint8_t* weight = p.parts[part].weight + expert * p.expert_bytes + row * p.weight.row_bytes;
  const float sum = warp_sum(lane_product<kType>(p, weight, p.x_row(pair), lane));
  if (lane == 0) p.out_row(part, pair)[row] = sum + p.bias(part, expert, row);
}

template <DType kType>
Status launch_product(Context& context, const ExpertProduct& p) {
  constexpr int kPairsMax = 65535;  // of a grid's second dimension
  for (int first = 0; first < p.pairs(); first += kPairsMax) {
    const dim3 grid(static_cast<unsigned>((p.weight.rows + kWarps - 1) / kWarps),
                    static_cast<unsigned>(std::min(kPairsMax, p.pairs() - first)),
                    static_cast<unsigned>(p.num_parts));
    TRY(launch("expert_matmul", multiply<kType>, grid, 32 * kWarps, 0, context.stream, p, first));
  }
  return {};
}

struct Row {
  DType type;
  Status (*launch)(Context&, const ExpertProduct&);
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

}  // namespace

Status multiply_blocks(Context& context, const ExpertProduct& p, DType type) {
  const auto row =
      std::find_if(kTable.begin(), kTable.end(), [&](const Row& r) { return r.type == type; });
  if (row == kTable.end()) {
    return Error{ErrorCode::kUnsupported, "expert_matmul: no CUDA kernel for this type"};
  }
  return row->launch(context, p);
}

}  // namespace realm::cuda
