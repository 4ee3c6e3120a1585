// Rotary embeddings: the table of a step, and the rotation of heads in place.
#include "backends/cuda/context.cuh"

namespace realm::cuda {
namespace {

// Double precision, for angles of long contexts; once a step, so its cost does not count.
__global__ void fill_table(const int32_t* positions, const float* inv_freq, Rows out, int half,
                           float magnitude) {
  const int64_t t = blockIdx.x;
  float* row = out.row(t);
  for (int i = static_cast<int>(threadIdx.x); i < half; i += static_cast<int>(blockDim.x)) {
    const double angle = static_cast<float>(positions[t]) * inv_freq[i];
    row[i] = static_cast<float>(cos(angle)) * magnitude;
    row[half + i] = static_cast<float>(sin(angle)) * magnitude;
  }
}

// One thread a pair.
__global__ void rotate(Rows x, const std::byte* table, int64_t table_stride, int64_t num_pairs,
                       int heads, int half, bool adjacent) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= num_pairs) return;
  const int64_t row = index / half;
  const int i = static_cast<int>(index % half);
  const auto* angles = reinterpret_cast<const float*>(table + row / heads * table_stride);
  float* head = x.row(row);
  float* a = head + (adjacent ? 2 * i : i);
  float* b = adjacent ? a + 1 : a + half;
  const float c = angles[i], s = angles[half + i], va = *a, vb = *b;
  *a = va * c - vb * s;
  *b = va * s + vb * c;
}

}  // namespace

Status run(Context& context, const RopeTable& op) {
  const int64_t tokens = op.positions.dim(0);
  const int half = static_cast<int>(op.inv_freq.dim(0));
  if (tokens == 0 || half == 0) return {};
  fill_table<<<static_cast<unsigned>(tokens), 64, 0, context.stream>>>(
      op.positions.as<const int32_t>(), op.inv_freq.as<const float>(), Rows(op.out), half,
      op.magnitude);
  return check_launch("rope_table");
}

Status run(Context& context, const Rope& op) {
  const int half = static_cast<int>(op.table.dim(1) / 2);
  const int64_t pairs = op.x.num_rows() * half;
  if (pairs == 0) return {};
  constexpr int kThreads = 128;
  rotate<<<static_cast<unsigned>((pairs + kThreads - 1) / kThreads), kThreads, 0, context.stream>>>(
      Rows(op.x), op.table.data, op.table.stride[0], pairs, static_cast<int>(op.x.dim(1)), half,
      op.pairs == RopePairs::kAdjacent);
  return check_launch("rope");
}

}  // namespace realm::cuda
