#include "backends/cuda/context.cuh"
#include "backends/cuda/elementwise.cuh"

namespace realm::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void gated(Rows gate, Rows up, bool has_up, Rows out, int64_t dim, Activation kind) {
  const int64_t d = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (d >= dim) return;
  const int64_t row = blockIdx.x;
  const float g = gate.row(row)[d];
  out.row(row)[d] = has_up ? gate_with(kind, g, up.row(row)[d]) : activate(kind, g);
}

__global__ void add(Rows a, Rows b, Rows out, int64_t dim, bool broadcast) {
  const int64_t d = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (d >= dim) return;
  const int64_t row = blockIdx.x;
  out.row(row)[d] = a.row(row)[d] + b.row(broadcast ? 0 : row)[d];
}

__global__ void scale_rows(Rows x, Rows out, int64_t dim, float scale, float soft_cap) {
  const int64_t d = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (d >= dim) return;
  const int64_t row = blockIdx.x;
  const float y = x.row(row)[d] * scale;
  out.row(row)[d] = soft_cap > 0.0f ? soft_cap * tanhf(y / soft_cap) : y;
}

__global__ void copy_rows(Rows x, Rows out, int64_t dim) {
  const int64_t d = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (d < dim) out.row(blockIdx.x)[d] = x.row(blockIdx.x)[d];
}

// Rows come first: a grid's other dimensions end at 65535.
dim3 grid_of(int64_t rows, int64_t dim) {
  return {static_cast<unsigned>(rows), static_cast<unsigned>((dim + kThreads - 1) / kThreads), 1};
}

}  // namespace

Status run(Context& context, const GatedActivation& op) {
  const int64_t rows = op.gate.num_rows(), dim = op.gate.last_dim();
  if (rows == 0 || dim == 0) return {};
  const bool has_up = !op.up.empty();
  gated<<<grid_of(rows, dim), kThreads, 0, context.stream>>>(
      Rows(op.gate), Rows(has_up ? op.up : op.gate), has_up, Rows(op.out), dim, op.activation);
  return check_launch("gated_activation");
}

Status run(Context& context, const Add& op) {
  const int64_t rows = op.a.num_rows(), dim = op.a.last_dim();
  if (rows == 0 || dim == 0) return {};
  add<<<grid_of(rows, dim), kThreads, 0, context.stream>>>(Rows(op.a), Rows(op.b), Rows(op.out),
                                                           dim, op.b.rank == 1);
  return check_launch("add");
}

Status run(Context& context, const Scale& op) {
  const int64_t rows = op.x.num_rows(), dim = op.x.last_dim();
  if (rows == 0 || dim == 0) return {};
  scale_rows<<<grid_of(rows, dim), kThreads, 0, context.stream>>>(Rows(op.x), Rows(op.out), dim,
                                                                  op.scale, op.soft_cap);
  return check_launch("scale");
}

Status run(Context& context, const Copy& op) {
  const int64_t rows = op.x.num_rows(), dim = op.x.last_dim();
  if (rows == 0 || dim == 0) return {};
  copy_rows<<<grid_of(rows, dim), kThreads, 0, context.stream>>>(Rows(op.x), Rows(op.out), dim);
  return check_launch("copy");
}

}  // namespace realm::cuda
