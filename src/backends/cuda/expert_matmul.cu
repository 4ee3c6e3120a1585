// Products with one of many matrices, chosen for each token and slot: which kernel a step gets, and
// gate, up, their activation and down as one group of them.
#include "backends/cuda/experts.cuh"
#include "formats/quant/quant_table.h"

namespace realm::cuda {
namespace {

const uint8_t* bytes_of(const TensorView& view) {
  return reinterpret_cast<const uint8_t*>(view.data);
}

// Whether both parts of an op are one product.
bool alike(const ExpertMatMul& op) {
  const TensorView &a = op.parts[0].weight, &b = op.parts[op.num_parts - 1].weight;
  return a.dtype == b.dtype && a.dim(1) == b.dim(1) && a.stride[0] == b.stride[0] &&
         a.stride[1] == b.stride[1];
}

bool is_tiled(const Context& context, const TensorView& weight) {
  const Located at = context.locate(weight);
  return at.weight != nullptr && at.weight->tiled;
}

// Parts first to last of an op.
Result<ExpertProduct> product_of(const Context& context, const ExpertMatMul& op, int first,
                                 int last) {
  const TensorView& weight = op.parts[first].weight;
  const bool tiled = is_tiled(context, weight);
  const int64_t experts = weight.dim(0), rows = weight.dim(1), k = weight.dim(2);
  const bool ids = !op.ids.empty();
  ExpertProduct p{};
  for (int i = first; i <= last; ++i) {
    const ExpertMatMul::Part& part = op.parts[i];
    const Located at = context.locate(part.weight);
    if (tiled && at.base != part.weight.data) {
      return Error{ErrorCode::kUnsupported, "expert_matmul: " + part.weight.describe() +
                                                " is a slice of an imported weight"};
    }
    // Kernels count a row's place in floats, in 32 bits.
    if (part.out.extent_bytes() > (size_t{16} << 30)) {
      return Error{ErrorCode::kUnsupported, "expert_matmul: out " + part.out.describe()};
    }
    p.parts[p.num_parts++] = {
        .weight = bytes_of(part.weight),
        .bias = part.bias.empty() ? nullptr : part.bias.as<const float>(),
        .bias_stride =
            part.bias.empty() ? 0 : part.bias.stride[0] / static_cast<int64_t>(sizeof(float)),
        .out = part.out.data,
        .out_token_stride = part.out.stride[0],
        .out_slot_stride = part.out.stride[1]};
  }
  p.weight = {.data = nullptr,
              .row_bytes = weight.stride[1],
              .rows = static_cast<int>(rows),
              .num_tiles = static_cast<int>((k + kTileColumns - 1) / kTileColumns),
              .grids = context.grids};
  p.expert_bytes =
      tiled ? static_cast<int64_t>(tiled_bytes(weight.dtype, rows, k)) : weight.stride[0];
  p.row_tiles = static_cast<int>((rows + kTileRows - 1) / kTileRows);
  p.ids = ids ? op.ids.data : nullptr;
  p.ids_stride = ids ? op.ids.stride[0] : 0;
  p.tokens = static_cast<int>(op.x.dim(0));
  p.slots = static_cast<int>(op.parts[0].out.dim(1));
  p.experts = static_cast<int>(experts);
  p.x = op.x.data;
  p.x_token_stride = op.x.stride[0];
  p.x_of_pairs = op.x.dim(1) != 1;
  p.x_slot_stride = p.x_of_pairs ? op.x.stride[1] : 0;
  p.k = static_cast<int>(k);
  p.k_padded = padded_columns(k);
  return p;
}

bool goes_to_matvec(const Context& context, const ExpertProduct& p) {
  return context.few_tokens(p.tokens) && (p.ids == nullptr || p.pairs() <= kFewPairs);
}

// How many pairs a tile has: few where experts have few, as a tile's weights are unpacked for all.
int tile_pairs(const ExpertProduct& p) {
  return p.pairs() <= 20 * std::min(p.experts, p.pairs()) ? 32 : 128;
}

// Where there is no wgmma: few tokens at a time, with the same bits however many those are.
Status multiply_by_few(Context& context, const ExpertKernels& kernels, ExpertProduct p) {
  if (p.ids != nullptr && p.slots > kFewPairs) {
    return Error{ErrorCode::kUnsupported, "expert_matmul: " + std::to_string(p.slots) +
                                              " experts for a token are too many on this GPU"};
  }
  // At once, since areas for activations are two, and the other may be where the outputs go.
  if (p.x16 == nullptr) p.x16 = TRY(gather_pairs(context, p, nullptr));
  const int at_once =
      p.ids == nullptr ? Context::kFewTokens : std::min(Context::kFewTokens, kFewPairs / p.slots);
  for (int first = 0; first < p.tokens; first += at_once) {
    ExpertProduct some = p;
    some.tokens = std::min(at_once, p.tokens - first);
    if (p.ids != nullptr) some.ids += first * p.ids_stride;
    some.x16 += first * (p.x_of_pairs ? p.slots : 1) * p.k_padded;
    if (p.is_gated) some.gated_out += first * p.slots * p.gated_stride;
    for (int i = 0; i < p.num_parts; ++i) some.parts[i].out += first * p.parts[i].out_token_stride;
    TRY(kernels.matvec(context, some));
  }
  return {};
}

Status multiply_sorted(Context& context, const ExpertKernels& kernels, const ExpertProduct& p,
                       const ExpertLists& lists, int n) {
  return n == 32 ? kernels.matmul_32(context, p, lists) : kernels.matmul_128(context, p, lists);
}

Status multiply(Context& context, ExpertProduct p, DType type, bool tiled) {
  const ExpertKernels* kernels = find_expert_kernels(type);
  if (!tiled || kernels == nullptr) return multiply_blocks(context, p, type);
  if (goes_to_matvec(context, p)) return kernels->matvec(context, p);
  if (!context.has_wgmma) return multiply_by_few(context, *kernels, p);
  const int n = tile_pairs(p);
  const ExpertLists lists = TRY(sort_pairs(context, p, n));
  p.x16 = TRY(gather_pairs(context, p, &lists));
  return multiply_sorted(context, *kernels, p, lists, n);
}

}  // namespace

Status run(Context& context, const ExpertMatMul& op) {
  if (op.x.dim(0) == 0 || op.parts[0].out.dim(1) == 0 || op.x.dim(2) == 0) return {};
  const int together = alike(op) ? op.num_parts : 1;
  for (int i = 0; i < op.num_parts; i += together) {
    const TensorView& weight = op.parts[i].weight;
    if (weight.dim(1) == 0) continue;
    const ExpertProduct p = TRY(product_of(context, op, i, i + together - 1));
    TRY(multiply(context, p, weight.dtype, is_tiled(context, weight)));
  }
  return {};
}

Result<bool> run_gated_experts(Context& context, const ExpertMatMul& in, Activation activation,
                               const ExpertMatMul& down) {
  const TensorView &first = in.parts[0].weight, &second = down.parts[0].weight;
  const ExpertKernels* in_kernels = find_expert_kernels(first.dtype);
  const ExpertKernels* down_kernels = find_expert_kernels(second.dtype);
  if (in_kernels == nullptr || down_kernels == nullptr || !alike(in) || !is_tiled(context, first) ||
      !is_tiled(context, in.parts[1].weight) || !is_tiled(context, second)) {
    return false;
  }
  ExpertProduct gated = TRY(product_of(context, in, 0, 1));
  ExpertProduct next = TRY(product_of(context, down, 0, 0));
  const bool few = goes_to_matvec(context, gated);
  const bool spelled_out =
      activation == Activation::kSilu || activation == Activation::kSwigluClamped;
  if (!few && !spelled_out && context.has_wgmma) return false;
  gated.is_gated = true;
  gated.activation = activation;
  gated.gated_stride = next.k_padded;
  gated.gated_out = TRY(context.next_activations(gated.pairs(), gated.gated_stride));
  next.x16 = gated.gated_out;
  next.x_of_pairs = true;
  if (few) {
    TRY(in_kernels->matvec(context, gated));
    TRY(down_kernels->matvec(context, next));
    return true;
  }
  if (!context.has_wgmma) {
    TRY(multiply_by_few(context, *in_kernels, gated));
    TRY(multiply_by_few(context, *down_kernels, next));
    return true;
  }
  const int n = tile_pairs(gated);
  const ExpertLists lists = TRY(sort_pairs(context, gated, n));
  gated.x16 = TRY(gather_pairs(context, gated, &lists));
  TRY(multiply_sorted(context, *in_kernels, gated, lists, n));
  TRY(multiply_sorted(context, *down_kernels, next, lists, n));
  return true;
}

}  // namespace realm::cuda
