// Picking rows of a table: token embeddings, and the rows of a batch whose logits are wanted.
#include <cuda_bf16.h>

#include "backends/cuda/context.cuh"

namespace realm::cuda {
namespace {

struct Table {
  const std::byte* data;
  int64_t stride;
};

template <typename Number>
__device__ float to_float(Number x) {
  if constexpr (sizeof(Number) == 4)
    return x;
  else
    return static_cast<float>(x);
}

template <typename Number>
__global__ void gather_floats(Table table, const int32_t* ids, Rows out, int64_t dim, float scale) {
  const auto* from = reinterpret_cast<const Number*>(table.data + ids[blockIdx.x] * table.stride);
  float* to = out.row(blockIdx.x);
  for (int64_t d = threadIdx.x; d < dim; d += blockDim.x) to[d] = scale * to_float(from[d]);
}

// A thread decodes 16 elements.
template <DType kType>
__global__ void gather_blocks(Table table, const int32_t* ids, Rows out, int64_t dim, float scale,
                              const IqGrids* grids) {
  const auto* row = reinterpret_cast<const uint8_t*>(table.data + ids[blockIdx.x] * table.stride);
  float* to = out.row(blockIdx.x);
  for (int64_t i = threadIdx.x; i < dim / 16; i += blockDim.x) {
    float values[16];
    RawBlock<kType>::decode16(row, static_cast<int>(i / 2), static_cast<int>(i % 2), *grids,
                              values);
#pragma unroll
    for (int j = 0; j < 16; ++j) to[16 * i + j] = scale * values[j];
  }
}

template <DType kType>
void launch_blocks(Context& context, const GatherRows& op) {
  gather_blocks<kType><<<static_cast<unsigned>(op.ids.dim(0)), 128, 0, context.stream>>>(
      Table{op.table.data, op.table.stride[0]}, op.ids.as<const int32_t>(), Rows(op.out),
      op.table.dim(1), op.scale, context.grids);
}

template <typename Number>
void launch_floats(Context& context, const GatherRows& op) {
  gather_floats<Number><<<static_cast<unsigned>(op.ids.dim(0)), 256, 0, context.stream>>>(
      Table{op.table.data, op.table.stride[0]}, op.ids.as<const int32_t>(), Rows(op.out),
      op.table.dim(1), op.scale);
}

using Launch = void (*)(Context&, const GatherRows&);

struct Row {
  DType type;
  Launch launch;
};

constexpr Row kTable[] = {
    {DType::kF32, launch_floats<float>},
    {DType::kF16, launch_floats<__half>},
    {DType::kBF16, launch_floats<__nv_bfloat16>},
    {DType::kQ4_1, launch_blocks<DType::kQ4_1>},
    {DType::kQ5_0, launch_blocks<DType::kQ5_0>},
    {DType::kQ5_1, launch_blocks<DType::kQ5_1>},
    {DType::kQ8_1, launch_blocks<DType::kQ8_1>},
    {DType::kQ2_K, launch_blocks<DType::kQ2_K>},
    {DType::kQ3_K, launch_blocks<DType::kQ3_K>},
    {DType::kQ8_K, launch_blocks<DType::kQ8_K>},
    {DType::kIQ2_XXS, launch_blocks<DType::kIQ2_XXS>},
    {DType::kIQ2_XS, launch_blocks<DType::kIQ2_XS>},
    {DType::kIQ3_XXS, launch_blocks<DType::kIQ3_XXS>},
    {DType::kIQ1_S, launch_blocks<DType::kIQ1_S>},
    {DType::kIQ4_NL, launch_blocks<DType::kIQ4_NL>},
    {DType::kIQ3_S, launch_blocks<DType::kIQ3_S>},
    {DType::kIQ2_S, launch_blocks<DType::kIQ2_S>},
    {DType::kIQ4_XS, launch_blocks<DType::kIQ4_XS>},
    {DType::kIQ1_M, launch_blocks<DType::kIQ1_M>},
    {DType::kTQ1_0, launch_blocks<DType::kTQ1_0>},
    {DType::kTQ2_0, launch_blocks<DType::kTQ2_0>},
    {DType::kMXFP4, launch_blocks<DType::kMXFP4>},
    {DType::kNVFP4, launch_blocks<DType::kNVFP4>},
    {DType::kQ1_0, launch_blocks<DType::kQ1_0>},
    {DType::kQ2_0, launch_blocks<DType::kQ2_0>},
};

}  // namespace

Status run(Context& context, const GatherRows& op) {
  if (op.ids.dim(0) == 0 || op.table.dim(1) == 0) return {};
  const Located at = context.locate(op.table);
  if (at.weight != nullptr && at.weight->tiled) return gather_tiled(context, op, at);
  for (const Row& row : kTable) {
    if (row.type != op.table.dtype) continue;
    row.launch(context, op);
    return check_launch("gather");
  }
  return Error{ErrorCode::kUnsupported, "gather: no CUDA kernel for " + op.table.describe()};
}

}  // namespace realm::cuda
