// The matrix product: float weights go to dot_rows (kernels.h) or a float panel, block formats
// quantize the activations once and go to the integer kernels (matmul_kernels.h). Work is cut into
// groups of weight rows, so that each weight is read by one thread, once.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/rows.h"

namespace realm::cpu {
namespace {

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

FloatType float_type_of(DType dtype) {
  if (dtype == DType::kF16) return FloatType::kF16;
  return dtype == DType::kBF16 ? FloatType::kBF16 : FloatType::kF32;
}

size_t align_up(size_t n) {
  return (n + 63) / 64 * 64;
}

// One group size's quantized activations, laid out in the op's shared scratch.
struct Quantized {
  bool needed = false;
  int8_t* codes = nullptr;
  float* scales = nullptr;
  int16_t* sums = nullptr;

  static size_t bytes(int64_t tokens, int64_t k, int group) {
    const auto n = static_cast<size_t>(tokens * k);
    return align_up(n) + align_up(n / static_cast<size_t>(group) * sizeof(float)) +
           align_up(n / 16 * sizeof(int16_t));
  }
  void place(std::byte* memory, int64_t tokens, int64_t k, int group) {
    const auto n = static_cast<size_t>(tokens * k);
    codes = reinterpret_cast<int8_t*>(memory);
    memory += align_up(n);
    scales = reinterpret_cast<float*>(memory);
    memory += align_up(n / static_cast<size_t>(group) * sizeof(float));
    sums = reinterpret_cast<int16_t*>(memory);
  }
};

// The op's tokens as its kernels read them: quantized once for each group size that its weights
// have, and packed once for each layout and group size
// that their panel kernels ask for.
class PreparedTokens {
 public:
  PreparedTokens(Context& context, const MatMul& op) : x_(op.x) {
    for (int p = 0; p < op.num_parts; ++p) {
      const DType type = op.parts[p].weight.dtype;
      if (is_float(type)) {
        const FloatPanel* panel = context.matmul.float_panel_of(type, tokens());
        if (panel != nullptr && find(panel) == nullptr) {
          floats_[num_floats_++] = {.panel = panel, .memory = nullptr};
        }
        continue;
      }
      const int group = context.matmul.activation_group(*find_block_format(type), k());
      by_group_[group == 256].needed = true;
      if (tokens() < context.matmul.panel_from(type)) continue;
      const TokenLayout* layout = context.matmul.token_layout(type, group);
      if (layout == nullptr || find(layout, group) != nullptr) continue;
      packings_[num_packings_++] = {.layout = layout, .group = group, .memory = nullptr};
    }
    size_t bytes = 0;
    for (const int group : kGroups) {
      if (by_group_[group == 256].needed) bytes += Quantized::bytes(tokens(), k(), group);
    }
    for (int i = 0; i < num_packings_; ++i) bytes += packed_bytes(*packings_[i].layout);
    for (int i = 0; i < num_floats_; ++i) bytes += packed_bytes(*floats_[i].panel);
    if (bytes == 0) return;
    std::byte* memory = context.shared_scratch(bytes);
    for (const int group : kGroups) {
      Quantized& q = by_group_[group == 256];
      if (!q.needed) continue;
      q.place(memory, tokens(), k(), group);
      memory += Quantized::bytes(tokens(), k(), group);
    }
    for (int i = 0; i < num_packings_; ++i) {
      packings_[i].memory = memory;
      memory += packed_bytes(*packings_[i].layout);
    }
    for (int i = 0; i < num_floats_; ++i) {
      floats_[i].memory = memory;
      memory += packed_bytes(*floats_[i].panel);
    }
    prepare(context);
  }

  const std::byte* of(const FloatPanel* panel) const { return find(panel)->memory; }

  QuantizedTokens of(const Context& context, DType type) const {
    const int group = context.matmul.activation_group(*find_block_format(type), k());
    const TokenLayout* layout =
        num_packings_ == 0 ? nullptr : context.matmul.token_layout(type, group);
    const Packing* packing = layout == nullptr ? nullptr : find(layout, group);
    return quantized(group, packing == nullptr ? nullptr : packing->memory);
  }

 private:
  static constexpr int kGroups[] = {32, 256};
  struct Packing {
    const TokenLayout* layout;
    int group;
    std::byte* memory;
  };
  struct FloatPacking {
    const FloatPanel* panel;
    std::byte* memory;
  };

  int64_t tokens() const { return x_.dim(0); }
  int64_t k() const { return x_.dim(1); }
  size_t packed_bytes(const TokenLayout& layout) const {
    return align_up(static_cast<size_t>(layout.bytes(tokens(), k())));
  }
  size_t packed_bytes(const FloatPanel& panel) const {
    return align_up(static_cast<size_t>(panel.packed_bytes(tokens(), k())));
  }
  // Weights of both group sizes may ask for the same layout: its codes differ.
  const Packing* find(const TokenLayout* layout, int group) const {
    for (int i = 0; i < num_packings_; ++i) {
      if (packings_[i].layout == layout && packings_[i].group == group) return &packings_[i];
    }
    return nullptr;
  }
  const FloatPacking* find(const FloatPanel* panel) const {
    for (int i = 0; i < num_floats_; ++i) {
      if (floats_[i].panel == panel) return &floats_[i];
    }
    return nullptr;
  }
  QuantizedTokens quantized(int group, const std::byte* packed) const {
    const Quantized& q = by_group_[group == 256];
    return {q.codes, q.scales, q.sums, packed, k(), group};
  }

  // A piece is some tokens, whole tiles of every layout, which are packed while what they were
  // quantized to is still cached.
  void prepare(Context& context) {
    int64_t step = 1;
    for (int i = 0; i < num_packings_; ++i) {
      step = std::lcm(step, packings_[i].layout->tile_tokens);
    }
    for (int i = 0; i < num_floats_; ++i) step = std::lcm(step, floats_[i].panel->tile_tokens);
    const int64_t x_stride = x_.stride[0] / static_cast<int64_t>(sizeof(float));
    for_row_pieces(context.pool, (tokens() + step - 1) / step, 4 * k() * step, [&](int64_t piece) {
      const int64_t begin = piece * step, end = std::min(tokens(), begin + step);
      for (const int group : kGroups) {
        const Quantized& q = by_group_[group == 256];
        if (!q.needed) continue;
        for (int64_t t = begin; t < end; ++t) {
          context.kernels.quantize_row(reinterpret_cast<const float*>(x_.data + t * x_.stride[0]),
                                       k(), group,
                                       QuantizedRow{q.codes + t * k(), q.scales + t * (k() / group),
                                                    q.sums + t * (k() / 16)});
        }
      }
      for (int i = 0; i < num_packings_; ++i) {
        const Packing& packing = packings_[i];
        const int64_t tile_tokens = packing.layout->tile_tokens;
        for (int64_t t = begin; t < end; t += tile_tokens) {
          packing.layout->pack(quantized(packing.group, nullptr), tokens(), t / tile_tokens,
                               packing.memory);
        }
      }
      for (int i = 0; i < num_floats_; ++i) {
        const FloatPanel& panel = *floats_[i].panel;
        for (int64_t t = begin; t < end; t += panel.tile_tokens) {
          panel.pack(x_.as<const float>(), x_stride, tokens(), k(), t / panel.tile_tokens,
                     floats_[i].memory);
        }
      }
    });
  }

  const TensorView& x_;
  Quantized by_group_[2];
  Packing packings_[MatMul::kMaxParts];
  int num_packings_ = 0;
  FloatPacking floats_[MatMul::kMaxParts];
  int num_floats_ = 0;
};

// Rows a piece: enough bytes to be worth taking, few enough to balance; more where a panel takes
// many at once.
int64_t rows_per_piece(int64_t total_rows, int num_threads, bool large) {
  const int64_t pieces = int64_t{large ? 8 : 24} * num_threads;
  return std::clamp<int64_t>(total_rows / pieces / kPanelRows * kPanelRows, kPanelRows,
                             (large ? 8 : 4) * kPanelRows);
}

void finish_rows(const Context& context, const MatMul& op, const MatMul::Part& part, int64_t row,
                 int64_t num_rows, const float* result, int64_t result_stride) {
  if (num_rows > kPanelRows) {
    finish_rows(context, op, part, row + kPanelRows, num_rows - kPanelRows, result + kPanelRows,
                result_stride);
    num_rows = kPanelRows;
  }
  for (int64_t t = 0; t < op.x.dim(0); ++t) {
    float* out = reinterpret_cast<float*>(part.out.data + t * part.out.stride[0]) + row;
    const float* sums = result + t * result_stride;
    if (!part.bias.empty()) {
      float biased[kPanelRows];
      context.kernels.add(sums, part.bias.as<const float>() + row, biased, num_rows);
      if (op.accumulate) {
        context.kernels.add(out, biased, out, num_rows);
      } else {
        std::memcpy(out, biased, static_cast<size_t>(num_rows) * sizeof(float));
      }
    } else if (op.accumulate) {
      context.kernels.add(out, sums, out, num_rows);
    }
  }
}

void float_rows(Context& context, const MatMul& op, const MatMul::Part& part, int64_t row,
                int num_rows, float* out, int64_t out_stride) {
  constexpr int64_t kTokenBlock = 32;  // activations that stay in the L2 cache between row groups
  const int64_t k = op.x.dim(1), x_stride = op.x.stride[0] / static_cast<int64_t>(sizeof(float));
  const auto* weight =
      reinterpret_cast<const uint8_t*>(part.weight.data + row * part.weight.stride[0]);
  for (int64_t t = 0; t < op.x.dim(0); t += kTokenBlock) {
    const int64_t tokens = std::min(kTokenBlock, op.x.dim(0) - t);
    const auto* x = reinterpret_cast<const float*>(op.x.data + t * op.x.stride[0]);
    context.kernels.dot_rows(float_type_of(part.weight.dtype), weight, part.weight.stride[0],
                             num_rows, x, x_stride, tokens, k, out + t * out_stride, out_stride);
  }
}

}  // namespace

const MatMulKernels& matmul_kernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAmx:
      return *amx_matmul_kernels();
    case Isa::kAvx512:
      return *avx512_matmul_kernels();
    case Isa::kAvx2:
      return *avx2_matmul_kernels();
#elif defined(__aarch64__)
    case Isa::kNeon:
      return *neon_matmul_kernels();
#endif
    default:
      return *scalar_matmul_kernels();
  }
}

const FloatPanel* MatMulKernels::float_panel_of(DType type, int64_t num_tokens) const {
  const FloatPanel* of_type = float_panel(type);
  return of_type == nullptr || num_tokens < of_type->from ? nullptr : of_type;
}

std::string MatMulKernels::describe(DType type, int64_t num_tokens) const {
  if (is_float(type)) {
    const FloatPanel* of_type = float_panel_of(type, num_tokens);
    return of_type == nullptr ? "float" : of_type->name;
  }
  return num_tokens >= panel_from(type) ? "panel" : "dot";
}

Status run(Context& context, const MatMul& op) {
  const int64_t tokens = op.x.dim(0), k = op.x.dim(1);
  if (tokens == 0) return {};
  const PreparedTokens prepared(context, op);
  int64_t total_rows = 0;
  for (int p = 0; p < op.num_parts; ++p) total_rows += op.parts[p].weight.dim(0);

  const MatMulKernels& kernels = context.matmul;
  int64_t scratch_bytes = kernels.scratch_bytes(tokens), rows_at_most = kPanelRows;
  const FloatPanel* panels[MatMul::kMaxParts] = {};
  for (int p = 0; p < op.num_parts; ++p) {
    const DType type = op.parts[p].weight.dtype;
    panels[p] = is_float(type) ? kernels.float_panel_of(type, tokens) : nullptr;
    if (panels[p] == nullptr) continue;
    scratch_bytes = std::max(scratch_bytes, panels[p]->scratch_bytes(tokens, k));
    rows_at_most = std::max(rows_at_most, panels[p]->rows);
  }
  const int64_t step =
      rows_per_piece(total_rows, context.pool.num_threads(), rows_at_most > kPanelRows);
  const int64_t rows_max = std::max(int64_t{kPanelRows}, std::min(step, rows_at_most));
  int64_t first_piece[MatMul::kMaxParts + 1] = {};
  for (int p = 0; p < op.num_parts; ++p) {
    first_piece[p + 1] = first_piece[p] + (op.parts[p].weight.dim(0) + step - 1) / step;
  }
  const size_t kernel_bytes = align_up(static_cast<size_t>(scratch_bytes));
  const size_t result_bytes = static_cast<size_t>(tokens * rows_max) * sizeof(float);
  context.pieces.start(first_piece[op.num_parts]);
  context.pool.parallel_for(first_piece[op.num_parts], [&](int64_t, int thread) {
    const auto [piece, follows, more] = context.pieces.take(thread);
    int p = 0;
    while (piece >= first_piece[p + 1]) ++p;
    const MatMul::Part& part = op.parts[p];
    const int64_t begin = (piece - first_piece[p]) * step;
    const int64_t end = std::min(part.weight.dim(0), begin + step);
    std::byte* scratch = context.thread_scratch(thread, kernel_bytes + result_bytes);
    const bool direct = part.bias.empty() && !op.accumulate;
    const int64_t rows_at_once = panels[p] == nullptr ? kPanelRows : panels[p]->rows;
    for (int64_t row = begin; row < end; row += rows_at_once) {
      const int num_rows = static_cast<int>(std::min(rows_at_once, end - row));
      float* out =
          direct ? part.out.as<float>() + row : reinterpret_cast<float*>(scratch + kernel_bytes);
      const int64_t out_stride =
          direct ? part.out.stride[0] / static_cast<int64_t>(sizeof(float)) : rows_max;
      const WeightRows weights{
          .format = find_block_format(part.weight.dtype),
          .data = reinterpret_cast<const uint8_t*>(part.weight.data + row * part.weight.stride[0]),
          .row_bytes = part.weight.stride[0],
          .num_rows = num_rows,
          .k = k,
          .more = row + rows_at_once < end || (more && piece + 1 < first_piece[p + 1]),
          .cold = row == begin && !(follows && piece > first_piece[p])};
      auto* kernel_scratch = reinterpret_cast<uint8_t*>(scratch);
      if (is_float(part.weight.dtype)) {
        if (const FloatPanel* panel = panels[p]) {
          panel->multiply(weights, prepared.of(panel), tokens, out, out_stride, kernel_scratch);
        } else {
          float_rows(context, op, part, row, num_rows, out, out_stride);
        }
      } else {
        const QuantizedTokens x = prepared.of(context, part.weight.dtype);
        const auto kernel =
            tokens >= kernels.panel_from(part.weight.dtype) ? kernels.panel : kernels.dot;
        kernel(weights, x, tokens, out, out_stride, kernel_scratch);
      }
      if (!direct) finish_rows(context, op, part, row, num_rows, out, out_stride);
    }
  });
  return {};
}

}  // namespace realm::cpu
