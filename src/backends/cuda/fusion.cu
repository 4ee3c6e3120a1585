// Groups of ops that run as one kernel when a program is prepared: a norm, an activation or an
// attention leaves its output in the 16-bit form that the product after it wants; gate, up and
// their activation are one product; the rotations of a step's queries and keys write the cache.
// Each is a match on the ops' tensors, nothing else: where a later op reads what would not be
// written, the ops run one by one.
#include <algorithm>

#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/experts.cuh"
#include "backends/cuda/matmul_fp8.cuh"
#include "backends/cuda/norm.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {
namespace {

constexpr int kThreads = 256;

bool overlap(const TensorView& a, const TensorView& b) {
  return a.data < b.data + b.extent_bytes() && b.data < a.data + a.extent_bytes();
}

// Bytes that still hold what was written, as ops overwrite them.
class LiveBytes {
 public:
  explicit LiveBytes(const TensorView& view)
      : pieces_{{view.data, view.data + view.extent_bytes()}} {}

  bool overlaps(const TensorView& view) const {
    for (const Piece& piece : pieces_) {
      if (view.data < piece.end && piece.begin < view.data + view.extent_bytes()) return true;
    }
    return false;
  }
  void overwrite(const TensorView& view) {
    if (!view.is_contiguous()) return;
    const std::byte *begin = view.data, *end = view.data + view.extent_bytes();
    std::vector<Piece> left;
    for (const Piece& piece : pieces_) {
      if (piece.begin < std::min(begin, piece.end))
        left.push_back({piece.begin, std::min(begin, piece.end)});
      if (std::max(end, piece.begin) < piece.end)
        left.push_back({std::max(end, piece.begin), piece.end});
    }
    pieces_ = std::move(left);
  }
  bool empty() const { return pieces_.empty(); }

 private:
  struct Piece {
    const std::byte *begin, *end;
  };
  std::vector<Piece> pieces_;
};

// Whether an op of `ops` reads some of `view` before it is overwritten.
bool read_later(std::span<const Op> ops, const TensorView& view) {
  LiveBytes live(view);
  for (Op op : ops) {  // a copy: views are visited as things to change
    bool reads = false;
    for_each_tensor(op, [&](const TensorView& other, bool written) {
      reads = reads || (!written && live.overlaps(other));
    });
    if (reads) return true;
    for_each_tensor(op, [&](const TensorView& other, bool written) {
      if (written) live.overwrite(other);
    });
    if (live.empty()) return false;
  }
  return false;
}

// The product that follows and takes `x` in 16 bits.
const MatMul* product_of_16_bits(std::span<const Op> ops, const TensorView& x) {
  const MatMul* product = ops.empty() ? nullptr : std::get_if<MatMul>(&ops.front());
  if (product == nullptr || product->x.data != x.data || !product->x.is_contiguous() ||
      product->x.num_elements() != x.num_elements() || product->x.dim(0) == 0) {
    return nullptr;
  }
  for (int i = 0; i < product->num_parts; ++i) {
    if (product->parts[i].weight.dtype == DType::kF32) return nullptr;
  }
  return product;
}

constexpr int kNormThreads = 512, kNormPiecesMax = 8;

// A norm as a product's x; also in single precision where `out` is not null. A block a row; a
// thread holds pieces of four columns. Moves a row in and half of it out.
template <int kNormPieces>
__global__ void __launch_bounds__(kNormThreads)
    norm_to_16(Rows x, const float* weight, float eps, int dim, float* out, __nv_bfloat16* out16,
               int64_t k_padded, bool permuted, bool is_half) {
  may_start_next();
  float4 scale[kNormPieces];
#pragma unroll
  for (int i = 0; i < kNormPieces; ++i) {
    const int column = 4 * (static_cast<int>(threadIdx.x) + i * kNormThreads);
    if (column < dim) scale[i] = *reinterpret_cast<const float4*>(weight + column);
  }
  wait_for_inputs();
  const int64_t row = blockIdx.x;
  const float* in = x.row(row);
  float4 values[kNormPieces];
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kNormPieces; ++i) {
    const int column = 4 * (static_cast<int>(threadIdx.x) + i * kNormThreads);
    if (column >= dim) break;
    const float4 v = *reinterpret_cast<const float4*>(in + column);
    values[i] = v;
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  const float factor = 1.0f / sqrtf(block_sum<kNormThreads>(sum) / static_cast<float>(dim) + eps);
#pragma unroll
  for (int i = 0; i < kNormPieces; ++i) {
    const int column = 4 * (static_cast<int>(threadIdx.x) + i * kNormThreads);
    if (column >= k_padded) break;
    float4 v{};
    if (column < dim) {
      v = {values[i].x * factor * scale[i].x, values[i].y * factor * scale[i].y,
           values[i].z * factor * scale[i].z, values[i].w * factor * scale[i].w};
      if (out != nullptr) *reinterpret_cast<float4*>(out + row * dim + column) = v;
    }
    __nv_bfloat16* to = out16 + row * k_padded;
    const int64_t place = permuted ? permuted_place(column) : column;
    *reinterpret_cast<uint32_t*>(to + place) = pack_16(is_half, v.x, v.y);
    *reinterpret_cast<uint32_t*>(to + place + (permuted ? 8 : 2)) = pack_16(is_half, v.z, v.w);
  }
}

bool rows_of_16_bytes(const TensorView& view) {
  if (reinterpret_cast<uintptr_t>(view.data) % 16 != 0) return false;
  for (int i = 0; i + 1 < view.rank; ++i) {
    if (view.stride[i] % 16 != 0) return false;
  }
  return true;
}

// Whether a norm of `x` can be left to the product: blocks read x while others write outputs.
bool all_go_to_integers(const Context& context, const MatMul& product, const TensorView& x,
                        int64_t k_padded) {
  const int64_t tokens = x.dim(0);
  for (int i = 0; i < product.num_parts; ++i) {
    if (overlap(product.parts[i].out, x)) return false;
    const ProductKernels* kernels = find_product_kernels(context, product.parts[i].weight.dtype);
    if (kernels == nullptr || !goes_to_integers(context, *kernels, tokens, k_padded)) return false;
  }
  return true;
}

Result<size_t> fuse_norm(Context& context, const RmsNorm& op, std::span<const Op> rest) {
  const int64_t dim = op.x.last_dim(), k_padded = padded_columns(dim);
  if (op.x.rank != 2 || dim % 4 != 0 || k_padded > 4 * kNormThreads * kNormPiecesMax ||
      !rows_of_16_bytes(op.x) || !rows_of_16_bytes(op.out) || !op.out.is_contiguous() ||
      !rows_of_16_bytes(op.weight)) {
    return size_t{0};
  }
  const MatMul* product = product_of_16_bits(rest, op.out);
  if (product == nullptr) return size_t{0};
  const int64_t tokens = op.x.dim(0);
  float* out = read_later(rest.subspan(1), op.out) ? op.out.as<float>() : nullptr;
  if (out == nullptr && all_go_to_integers(context, *product, op.x, k_padded)) {
    context.ready = {.of = op.out.data, .norm = &op};
    return size_t{1};
  }
  __nv_bfloat16* out16 = TRY(context.next_activations(tokens, k_padded));
  const int64_t pieces = (k_padded + 4 * kNormThreads - 1) / (4 * kNormThreads);
  const auto kernel = pieces <= 1   ? norm_to_16<1>
                      : pieces <= 2 ? norm_to_16<2>
                      : pieces <= 4 ? norm_to_16<4>
                                    : norm_to_16<8>;
  TRY(launch("rms_norm", kernel, static_cast<unsigned>(tokens), kNormThreads, 0, context.stream,
             Rows(op.x), op.weight.as<const float>(), op.eps, static_cast<int>(dim), out, out16,
             k_padded, !context.few_tokens(tokens), context.compute == Compute::kFp16));
  context.ready = {.of = op.out.data, .x = out16};
  return size_t{1};
}

// Queries and keys are normed head by head.
Result<size_t> fuse_head_norms(Context& context, const RmsNorm& first, std::span<const Op> rest) {
  const RmsNorm* second = rest.empty() ? nullptr : std::get_if<RmsNorm>(&rest.front());
  if (second == nullptr || overlap(first.out, second->x) || overlap(first.out, second->out) ||
      overlap(first.x, second->out)) {
    return size_t{0};
  }
  return TRY(norm_both(context, first, *second)) ? size_t{2} : size_t{0};
}

// act(gate) * up as a product's x; a thread has four columns.
__global__ void __launch_bounds__(kThreads)
    gated_to_16(Rows gate, Rows up, Activation kind, int64_t dim, __nv_bfloat16* out16,
                int64_t k_padded, bool permuted, bool is_half) {
  may_start_next();
  wait_for_inputs();
  const int64_t column = 4 * (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x);
  if (column >= k_padded) return;
  const int64_t token = blockIdx.x;
  float4 v{};
  if (column < dim) {
    const float4 g = *reinterpret_cast<const float4*>(gate.row(token) + column);
    const float4 u = *reinterpret_cast<const float4*>(up.row(token) + column);
    v = {gate_with(kind, g.x, u.x), gate_with(kind, g.y, u.y), gate_with(kind, g.z, u.z),
         gate_with(kind, g.w, u.w)};
  }
  __nv_bfloat16* to = out16 + token * k_padded;
  const int64_t place = permuted ? permuted_place(column) : column;
  *reinterpret_cast<uint32_t*>(to + place) = pack_16(is_half, v.x, v.y);
  *reinterpret_cast<uint32_t*>(to + place + (permuted ? 8 : 2)) = pack_16(is_half, v.z, v.w);
}

Result<size_t> fuse_activation(Context& context, const GatedActivation& op,
                               std::span<const Op> rest) {
  const int64_t tokens = op.gate.dim(0), dim = op.gate.dim(1), k_padded = padded_columns(dim);
  if (op.up.empty() || dim % 4 != 0 || !rows_of_16_bytes(op.gate) || !rows_of_16_bytes(op.up) ||
      product_of_16_bits(rest, op.out) == nullptr || read_later(rest.subspan(1), op.out)) {
    return size_t{0};
  }
  __nv_bfloat16* out16 = TRY(context.next_activations(tokens, k_padded));
  const dim3 grid(static_cast<unsigned>(tokens),
                  static_cast<unsigned>((k_padded / 4 + kThreads - 1) / kThreads));
  TRY(launch("gated_activation", gated_to_16, grid, kThreads, 0, context.stream, Rows(op.gate),
             Rows(op.up), op.activation, dim, out16, k_padded, !context.few_tokens(tokens),
             context.compute == Compute::kFp16));
  context.ready = {.of = op.out.data, .x = out16};
  return size_t{1};
}

// Gate, up, their activation: one product, whose output is the next one's x.
Result<size_t> fuse_gated_product(Context& context, const MatMul& op, std::span<const Op> rest) {
  if (rest.empty() || op.num_parts != 2 || op.accumulate || op.x.dim(0) == 0) {
    return size_t{0};
  }
  const auto* act = std::get_if<GatedActivation>(&rest.front());
  const MatMul::Part &gate = op.parts[0], &up = op.parts[1];
  if (act == nullptr || act->up.empty() || act->gate.data != gate.out.data ||
      act->up.data != up.out.data || gate.weight.dtype != up.weight.dtype ||
      gate.weight.dim(0) != up.weight.dim(0) || context.ready.of != op.x.data) {
    return size_t{0};
  }
  const ProductKernels* kernels = find_product_kernels(context, gate.weight.dtype);
  if (kernels == nullptr) return size_t{0};
  const bool few = context.few_tokens(op.x.dim(0));
  const bool in_fp8 = goes_to_fp8(context, op, gate.weight.dtype);
  const auto launch_fp8 = in_fp8 ? find_fp8_kernels(gate.weight.dtype)->gated_matmul : nullptr;
  const auto launch_product =
      goes_to_integers(context, *kernels, op.x.dim(0), padded_columns(op.x.dim(1)))
          ? kernels->integer_gated_matvec
          : (few ? kernels->gated_matvec : kernels->gated_matmul);
  if ((in_fp8 ? launch_fp8 == nullptr : launch_product == nullptr) ||
      (!few && act->activation != Activation::kSilu)) {
    return size_t{0};
  }
  const std::span<const Op> after = rest.subspan(1);
  if (product_of_16_bits(after, act->out) == nullptr || read_later(after.subspan(1), act->out) ||
      read_later(after, gate.out) != overlap(gate.out, act->out) ||
      read_later(after, up.out) != overlap(up.out, act->out)) {
    return size_t{0};
  }
  Fp8Product fp8;
  if (in_fp8) {
    const Fp8Activations x = TRY(
        quantize_activations(context, context.ready.x, op.x.dim(0), padded_columns(op.x.dim(1))));
    fp8 = TRY(fp8_product_of(context, op, 0, x));
  } else {
    fp8.product = TRY(product_of(context, op, 0));
    fp8.product.x = context.ready.x;
    fp8.product.norm = normed_input(context.ready);
  }
  Product& p = fp8.product;
  p.gated_stride = padded_columns(gate.weight.dim(0));
  // Columns past the last are zero: their weights are, but what lies there may be no number.
  p.gated_out = TRY(context.next_activations(p.tokens, p.gated_stride));
  p.activation = act->activation;
  if (p.gated_stride != gate.weight.dim(0)) {
    TRY(check(cudaMemsetAsync(p.gated_out, 0, static_cast<size_t>(p.tokens * p.gated_stride * 2),
                              context.stream),
              "matmul"));
  }
  TRY(in_fp8 ? launch_fp8(context, fp8) : launch_product(context, p));
  context.ready = {.of = act->out.data, .x = p.gated_out};
  return size_t{2};
}

// The products of chosen experts: gate, up, their activation, down.
Result<size_t> fuse_experts(Context& context, const ExpertMatMul& in, std::span<const Op> rest) {
  if (rest.size() < 2 || in.num_parts != 2 || in.x.dim(0) == 0) return size_t{0};
  const auto* act = std::get_if<GatedActivation>(&rest[0]);
  const auto* down = std::get_if<ExpertMatMul>(&rest[1]);
  const TensorView &gate = in.parts[0].out, &up = in.parts[1].out;
  if (act == nullptr || down == nullptr || act->up.empty() || act->gate.data != gate.data ||
      act->up.data != up.data || !gate.is_contiguous() || !up.is_contiguous() ||
      down->num_parts != 1 || down->x.data != act->out.data || !down->x.is_contiguous() ||
      down->x.num_elements() != gate.num_elements() || down->x.dim(1) != gate.dim(1) ||
      act->out.num_elements() != gate.num_elements() || in.ids.empty() ||
      down->ids.data != in.ids.data || down->ids.stride[0] != in.ids.stride[0]) {
    return size_t{0};
  }
  // What up's place holds may be down's output already.
  const std::span<const Op> after = rest.subspan(2);
  if (read_later(after, act->out) || read_later(after, gate) || read_later(rest.subspan(1), up)) {
    return size_t{0};
  }
  return TRY(run_gated_experts(context, in, act->activation, *down)) ? size_t{3} : size_t{0};
}

Result<size_t> fuse_attention(Context& context, const Attention& op, std::span<const Op> rest) {
  const int64_t tokens = op.q.dim(0), columns = op.q.dim(1) * op.out.dim(2);
  if (product_of_16_bits(rest, op.out) == nullptr || read_later(rest.subspan(1), op.out) ||
      columns % kTileColumns != 0) {
    return size_t{0};
  }
  __nv_bfloat16* out16 = TRY(context.next_activations(tokens, columns));
  if (!TRY(attend_into(context, op, out16, columns))) return size_t{0};
  context.ready = {.of = op.out.data, .x = out16};
  return size_t{1};
}

struct RopeStore {
  Rows q, k, v;
  const std::byte* table;
  int64_t table_stride;
  std::byte *k_cache, *v_cache;  // F16
  int64_t page_stride, head_stride, token_stride;
  const int64_t* slots;
  int heads, kv_heads, half, dim;
  bool adjacent;
};

// Rotates queries in place, and keys on their way into the cache, which values go to as they are. A
// thread has kPairs pairs of elements of one token.
template <int kPairs>
__global__ void __launch_bounds__(kThreads) rope_and_store(const RopeStore a) {
  may_start_next();
  wait_for_inputs();
  const int64_t token = blockIdx.x;
  const auto* angles = reinterpret_cast<const float*>(a.table + token * a.table_stride);
  const int64_t slot = a.slots[token];
  const int64_t cache_offset =
      slot / kPageTokens * a.page_stride + slot % kPageTokens * a.token_stride;
#pragma unroll
  for (int n = 0; n < kPairs; ++n) {
    const int index =
        (static_cast<int>(blockIdx.y) * kPairs + n) * kThreads + static_cast<int>(threadIdx.x);
    const int row = index / a.half, i = index % a.half;
    if (row >= a.heads + 2 * a.kv_heads) break;
    const bool is_q = row < a.heads, is_k = !is_q && row < a.heads + a.kv_heads;
    const int head = is_q ? row : is_k ? row - a.heads : row - a.heads - a.kv_heads;
    const Rows& from = is_q ? a.q : is_k ? a.k : a.v;
    auto* x =
        reinterpret_cast<float*>(from.data + token * from.outer_stride + head * from.inner_stride);
    const bool halves = (is_q || is_k) && !a.adjacent;
    const int first = halves ? i : 2 * i, second = halves ? i + a.half : 2 * i + 1;
    float u = x[first], w = x[second];
    if (is_q || is_k) {
      const float c = angles[i], s = angles[a.half + i], old = u;
      u = old * c - w * s;
      w = old * s + w * c;
    }
    if (is_q) {
      x[first] = u;
      x[second] = w;
    } else {
      auto* to = reinterpret_cast<__half*>((is_k ? a.k_cache : a.v_cache) + cache_offset +
                                           head * a.head_stride);
      to[first] = __float2half_rn(u);
      to[second] = __float2half_rn(w);
    }
  }
}

Result<size_t> fuse_rope(Context& context, const Rope& q, std::span<const Op> rest) {
  if (rest.size() < 2) return size_t{0};
  const auto* k = std::get_if<Rope>(&rest[0]);
  const auto* store = std::get_if<StoreKv>(&rest[1]);
  if (k == nullptr || store == nullptr || store->v.empty() || store->k.data != k->x.data ||
      k->table.data != q.table.data || k->pairs != q.pairs || q.x.dim(0) != k->x.dim(0) ||
      q.x.dim(2) != k->x.dim(2) || store->v.dim(2) != k->x.dim(2) || q.x.dim(0) == 0 ||
      store->k_cache.dtype != DType::kF16 || store->v_cache.dtype != DType::kF16 ||
      q.x.dim(2) % 2 != 0 || q.x.dim(2) > 1024 || read_later(rest.subspan(2), k->x)) {
    return size_t{0};
  }
  const int64_t rotated = q.table.dim(1);
  // Halves that are not the whole head leave a rest that is not pairs from 2 i on.
  if (rotated != q.x.dim(2)) return size_t{0};
  const RopeStore args{.q = Rows(q.x),
                       .k = Rows(k->x),
                       .v = Rows(store->v),
                       .table = q.table.data,
                       .table_stride = q.table.stride[0],
                       .k_cache = store->k_cache.data,
                       .v_cache = store->v_cache.data,
                       .page_stride = store->k_cache.stride[0],
                       .head_stride = store->k_cache.stride[1],
                       .token_stride = store->k_cache.stride[2],
                       .slots = store->slots.as<const int64_t>(),
                       .heads = static_cast<int>(q.x.dim(1)),
                       .kv_heads = static_cast<int>(k->x.dim(1)),
                       .half = static_cast<int>(rotated / 2),
                       .dim = static_cast<int>(q.x.dim(2)),
                       .adjacent = q.pairs == RopePairs::kAdjacent};
  const bool few = context.few_tokens(q.x.dim(0));
  const int pairs = (args.heads + 2 * args.kv_heads) * args.half;
  const int of_block = kThreads * (few ? 1 : 4);
  const dim3 grid(static_cast<unsigned>(q.x.dim(0)),
                  static_cast<unsigned>((pairs + of_block - 1) / of_block));
  TRY(launch("rope", few ? rope_and_store<1> : rope_and_store<4>, grid, kThreads, 0, context.stream,
             args));
  return size_t{3};
}

}  // namespace

Result<size_t> run_fused(Context& context, std::span<const Op> ops) {
  const std::span<const Op> rest = ops.subspan(1);
  if (const auto* norm = std::get_if<RmsNorm>(&ops.front())) {
    const size_t done = TRY(fuse_norm(context, *norm, rest));
    if (done > 0) return done;
    return fuse_head_norms(context, *norm, rest);
  }
  if (const auto* act = std::get_if<GatedActivation>(&ops.front())) {
    return fuse_activation(context, *act, rest);
  }
  if (const auto* product = std::get_if<MatMul>(&ops.front())) {
    return fuse_gated_product(context, *product, rest);
  }
  if (const auto* experts = std::get_if<ExpertMatMul>(&ops.front())) {
    return fuse_experts(context, *experts, rest);
  }
  if (const auto* attention = std::get_if<Attention>(&ops.front())) {
    return fuse_attention(context, *attention, rest);
  }
  if (const auto* rope = std::get_if<Rope>(&ops.front())) return fuse_rope(context, *rope, rest);
  return size_t{0};
}

}  // namespace realm::cuda
