// The matrix product: activations are rounded to 16 bits once (of products in FP8 to 8 then), and
// each group of parts of one type goes to that type's kernel for few tokens (matvec.cuh) or many
// (matmul_wgmma.cuh, matmul_mma.cuh, matmul_fp8.cuh). F32 weights are multiplied in single
// precision (matmul_f32.cu).
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/matmul_f32.cuh"
#include "backends/cuda/matmul_fp8.cuh"

namespace realm::cuda {
namespace {

constexpr int kThreads = 256;

// x [tokens, k] -> 16 bits [tokens, k_padded], zeros at the end.
__global__ void __launch_bounds__(kThreads)
    convert(Rows x, int64_t k, __nv_bfloat16* out, int64_t k_padded, bool permuted, bool is_half) {
  may_start_next();
  wait_for_inputs();
  const int64_t token = blockIdx.x;
  const float* in = x.row(token);
  const int64_t column = 2 * (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x);
  if (column >= k_padded) return;
  const float a = column < k ? in[column] : 0.0f;
  const float b = column + 1 < k ? in[column + 1] : 0.0f;
  const int64_t place = permuted ? permuted_place(column) : column;
  *reinterpret_cast<uint32_t*>(out + token * k_padded + place) = pack_16(is_half, a, b);
}

Result<const __nv_bfloat16*> convert_activations(Context& context, const TensorView& x) {
  const int64_t tokens = x.dim(0), k = x.dim(1), k_padded = padded_columns(k);
  __nv_bfloat16* out = TRY(context.next_activations(tokens, k_padded));
  const dim3 grid(static_cast<unsigned>(tokens),
                  static_cast<unsigned>((k_padded / 2 + kThreads - 1) / kThreads));
  TRY(launch("matmul: converting activations", convert, grid, kThreads, 0, context.stream, Rows(x),
             k, out, k_padded, !context.few_tokens(tokens), context.compute == Compute::kFp16));
  return out;
}

WeightSource source_of(const Context& context, const Located& at, const TensorView& weight) {
  return {.data = reinterpret_cast<const uint8_t*>(at.base),
          .row_bytes = 0,
          .rows = static_cast<int>(weight.dim(0)),
          .num_tiles = static_cast<int>((weight.dim(1) + kTileColumns - 1) / kTileColumns),
          .grids = context.grids};
}

Error unsupported(const TensorView& weight) {
  return Error{ErrorCode::kUnsupported, "matmul: no CUDA kernel for " + weight.describe()};
}

// The first part of a type, or num_parts.
int find_part(const MatMul& op, DType type) {
  int part = 0;
  while (part < op.num_parts && op.parts[part].weight.dtype != type) ++part;
  return part;
}

bool is_first_of_type(const MatMul& op, int part) {
  return find_part(op, op.parts[part].weight.dtype) == part;
}

}  // namespace

Result<Product> product_of(const Context& context, const MatMul& op, int first) {
  Product p{};
  p.tokens = static_cast<int>(op.x.dim(0));
  p.accumulate = op.accumulate;
  p.k_padded = padded_columns(op.x.dim(1));
  const DType type = op.parts[first].weight.dtype;
  for (int i = first; i < op.num_parts; ++i) {
    const MatMul::Part& part = op.parts[i];
    if (part.weight.dtype != type) continue;
    const Located at = context.locate(part.weight);
    const int64_t row_tile = at.row_begin / kTileRows;
    if (at.weight == nullptr || !at.weight->tiled || at.row_begin % kTileRows != 0) {
      return Error{ErrorCode::kUnsupported,
                   "matmul: " + part.weight.describe() +
                       " is no imported weight, or a slice of one that does not begin at a "
                       "multiple of 16 rows"};
    }
    p.parts[p.num_parts++] = {
        .weight = source_of(context, at, part.weight),
        .bias = part.bias.empty() ? nullptr : part.bias.as<const float>(),
        .out = part.out.as<float>(),
        .out_stride = part.out.stride[0] / static_cast<int64_t>(sizeof(float)),
        .row_tile_begin = static_cast<int>(row_tile),
        .first_tile = p.num_row_tiles};
    p.num_row_tiles += static_cast<int>((part.weight.dim(0) + kTileRows - 1) / kTileRows);
  }
  return p;
}

Status run(Context& context, const MatMul& op) {
  const int64_t tokens = op.x.dim(0);
  if (tokens == 0 || op.x.dim(1) == 0) return {};
  const Context::Ready ready = context.ready.of == op.x.data ? context.ready : Context::Ready{};
  const __nv_bfloat16* x = ready.x;
  context.ready = {};
  Fp8Activations fp8;
  bool q6_k_is_done = false;
  for (int i = 0; i < op.num_parts; ++i) {
    const DType type = op.parts[i].weight.dtype;
    if (!is_first_of_type(op, i) || (type == DType::kQ6_K && q6_k_is_done)) continue;
    if (type == DType::kF32) {
      TRY(matmul_f32(context, op));
      continue;
    }
    if (goes_to_fp8(context, op, type)) {
      if (x == nullptr) x = TRY(convert_activations(context, op.x));
      if (fp8.x == nullptr) {
        fp8 = TRY(quantize_activations(context, x, tokens, padded_columns(op.x.dim(1))));
      }
      const Fp8Product product = TRY(fp8_product_of(context, op, i, fp8));
      TRY(find_fp8_kernels(type)->matmul(context, product));
      continue;
    }
    const ProductKernels* kernels = find_product_kernels(context, type);
    if (kernels == nullptr) return unsupported(op.parts[i].weight);
    Product p = TRY(product_of(context, op, i));
    p.norm = normed_input(ready);
    if (x == nullptr && ready.norm == nullptr) x = TRY(convert_activations(context, op.x));
    p.x = x;
    const bool few = context.few_tokens(tokens);
    const bool integers = goes_to_integers(context, *kernels, tokens, p.k_padded);
    const auto with_q6_k = integers ? kernels->integer_matvec_with_q6_k
                           : few    ? nullptr
                                    : kernels->matmul_with_q6_k;
    const int q6_k = find_part(op, DType::kQ6_K);
    if (with_q6_k != nullptr && q6_k > i && q6_k < op.num_parts) {
      Product second = TRY(product_of(context, op, q6_k));
      second.norm = p.norm;
      second.x = p.x;
      TRY(with_q6_k(context, p, second));
      q6_k_is_done = true;
    } else if (integers) {
      TRY(kernels->integer_matvec(context, p));
    } else {
      TRY(few ? kernels->matvec(context, p) : kernels->matmul(context, p));
    }
  }
  return {};
}

NormedInput normed_input(const Context::Ready& ready) {
  if (ready.norm == nullptr) return {};
  const TensorView& x = ready.norm->x;
  return {.x = x.as<const float>(),
          .stride = x.stride[0] / static_cast<int64_t>(sizeof(float)),
          .weight = ready.norm->weight.as<const float>(),
          .eps = ready.norm->eps,
          .dim = static_cast<int>(x.last_dim())};
}

std::string describe_matmul(const Context& context, const MatMul& op) {
  const TensorView& weight = op.parts[0].weight;
  if (weight.dtype == DType::kF32) return "single precision";
  const char* unit = context.few_tokens(op.x.dim(0)) || !context.has_wgmma ? "mma" : "wgmma";
  const char* number = context.compute == Compute::kFp16        ? "fp16"
                       : goes_to_fp8(context, op, weight.dtype) ? "fp8"
                                                                : "bf16";
  return std::string(unit) + ", " + number;
}

}  // namespace realm::cuda
