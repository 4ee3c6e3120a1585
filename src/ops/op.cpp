#include "ops/op.h"

#include <string>

#include "formats/quant/quant_table.h"

namespace realm {
namespace {

Error wrong(const char* op, const char* what, const TensorView& view) {
  return Error{ErrorCode::kBadModel,
               std::string(op) + ": " + what + " has shape " + view.describe()};
}

bool same_shape(const TensorView& a, const TensorView& b) {
  if (a.rank != b.rank) return false;
  for (int i = 0; i < a.rank; ++i) {
    if (a.shape[i] != b.shape[i]) return false;
  }
  return true;
}

bool is_f32(const TensorView& view, int rank) {
  return view.dtype == DType::kF32 && view.rank == rank;
}

bool is_cache(const TensorView& view) {
  const bool type =
      view.dtype == DType::kF32 || view.dtype == DType::kF16 || view.dtype == DType::kQ8_0;
  return type && view.rank == 4 && view.shape[2] == kPageTokens && view.is_contiguous();
}

Status check(const GatherRows& op) {
  if (op.table.rank != 2) return wrong("gather", "table", op.table);
  if (op.ids.dtype != DType::kI32 || op.ids.rank != 1) return wrong("gather", "ids", op.ids);
  if (!is_f32(op.out, 2) || op.out.dim(0) != op.ids.dim(0) || op.out.dim(1) != op.table.dim(1)) {
    return wrong("gather", "out", op.out);
  }
  return {};
}

Status check(const RmsNorm& op) {
  if (op.x.dtype != DType::kF32) return wrong("rms_norm", "x", op.x);
  if (!is_f32(op.weight, 1) || op.weight.dim(0) != op.x.last_dim()) {
    return wrong("rms_norm", "weight", op.weight);
  }
  if (op.out.dtype != DType::kF32 || !same_shape(op.x, op.out)) {
    return wrong("rms_norm", "out", op.out);
  }
  return {};
}

Status check(const MatMul& op) {
  if (!is_f32(op.x, 2)) return wrong("matmul", "x", op.x);
  if (op.num_parts < 1 || op.num_parts > MatMul::kMaxParts) return wrong("matmul", "parts", op.x);
  for (int i = 0; i < op.num_parts; ++i) {
    const MatMul::Part& part = op.parts[i];
    const BlockFormat* format = find_block_format(part.weight.dtype);
    if (format == nullptr || part.weight.rank != 2 || part.weight.dim(1) != op.x.dim(1) ||
        !part.weight.is_contiguous()) {
      return wrong("matmul", "weight", part.weight);
    }
    if (!part.bias.empty() && (!is_f32(part.bias, 1) || part.bias.dim(0) != part.weight.dim(0))) {
      return wrong("matmul", "bias", part.bias);
    }
    if (!is_f32(part.out, 2) || part.out.dim(0) != op.x.dim(0) ||
        part.out.dim(1) != part.weight.dim(0)) {
      return wrong("matmul", "out", part.out);
    }
  }
  return {};
}

Status check(const RopeTable& op) {
  if (op.positions.dtype != DType::kI32 || op.positions.rank != 1) {
    return wrong("rope_table", "positions", op.positions);
  }
  if (!is_f32(op.inv_freq, 1)) return wrong("rope_table", "inv_freq", op.inv_freq);
  if (!is_f32(op.out, 2) || op.out.dim(0) != op.positions.dim(0) ||
      op.out.dim(1) != 2 * op.inv_freq.dim(0)) {
    return wrong("rope_table", "out", op.out);
  }
  return {};
}

Status check(const Rope& op) {
  if (!is_f32(op.x, 3)) return wrong("rope", "x", op.x);
  if (!is_f32(op.table, 2) || op.table.dim(0) != op.x.dim(0) || op.table.dim(1) > op.x.dim(2) ||
      op.table.dim(1) % 2 != 0) {
    return wrong("rope", "table", op.table);
  }
  return {};
}

Status check(const StoreKv& op) {
  if (!is_cache(op.k_cache)) return wrong("store_kv", "k_cache", op.k_cache);
  if (!is_cache(op.v_cache)) return wrong("store_kv", "v_cache", op.v_cache);
  if (!is_f32(op.k, 3) || op.k.dim(1) != op.k_cache.dim(1) || op.k.dim(2) != op.k_cache.dim(3)) {
    return wrong("store_kv", "k", op.k);
  }
  if (!is_f32(op.v, 3) || op.v.dim(0) != op.k.dim(0) || op.v.dim(1) != op.v_cache.dim(1) ||
      op.v.dim(2) != op.v_cache.dim(3)) {
    return wrong("store_kv", "v", op.v);
  }
  if (op.slots.dtype != DType::kI64 || op.slots.rank != 1 || op.slots.dim(0) != op.k.dim(0)) {
    return wrong("store_kv", "slots", op.slots);
  }
  return {};
}

Status check(const CopyPages& op) {
  if (!is_cache(op.k_cache)) return wrong("copy_pages", "k_cache", op.k_cache);
  if (!is_cache(op.v_cache)) return wrong("copy_pages", "v_cache", op.v_cache);
  if (op.pairs.dtype != DType::kI32 || op.pairs.rank != 2 || op.pairs.dim(1) != 2) {
    return wrong("copy_pages", "pairs", op.pairs);
  }
  return {};
}

Status check(const Attention& op) {
  if (!is_f32(op.q, 3)) return wrong("attention", "q", op.q);
  if (!is_cache(op.k_cache) || op.k_cache.dim(3) != op.q.dim(2) ||
      op.q.dim(1) % op.k_cache.dim(1) != 0) {
    return wrong("attention", "k_cache", op.k_cache);
  }
  if (!is_cache(op.v_cache) || op.v_cache.dim(1) != op.k_cache.dim(1) ||
      op.v_cache.dim(0) != op.k_cache.dim(0)) {
    return wrong("attention", "v_cache", op.v_cache);
  }
  if (op.positions.dtype != DType::kI32 || op.positions.rank != 1 ||
      op.positions.dim(0) != op.q.dim(0)) {
    return wrong("attention", "positions", op.positions);
  }
  if (op.seq_start.dtype != DType::kI32 || op.seq_start.rank != 1) {
    return wrong("attention", "seq_start", op.seq_start);
  }
  if (op.page_table.dtype != DType::kI32 || op.page_table.rank != 2 ||
      op.page_table.dim(0) + 1 != op.seq_start.dim(0)) {
    return wrong("attention", "page_table", op.page_table);
  }
  if (!op.sinks.empty() && (!is_f32(op.sinks, 1) || op.sinks.dim(0) != op.q.dim(1))) {
    return wrong("attention", "sinks", op.sinks);
  }
  if (!is_f32(op.out, 3) || op.out.dim(0) != op.q.dim(0) || op.out.dim(1) != op.q.dim(1) ||
      op.out.dim(2) != op.v_cache.dim(3) || !op.out.is_contiguous()) {
    return wrong("attention", "out", op.out);
  }
  return {};
}

Status check(const GatedActivation& op) {
  if (!is_f32(op.gate, 2)) return wrong("gated_activation", "gate", op.gate);
  if (!is_f32(op.up, 2) || !same_shape(op.gate, op.up))
    return wrong("gated_activation", "up", op.up);
  if (!is_f32(op.out, 2) || !same_shape(op.gate, op.out)) {
    return wrong("gated_activation", "out", op.out);
  }
  return {};
}

Status check(const Add& op) {
  if (!is_f32(op.a, 2)) return wrong("add", "a", op.a);
  const bool row = is_f32(op.b, 1) && op.b.dim(0) == op.a.dim(1);
  if (!row && !(is_f32(op.b, 2) && same_shape(op.a, op.b))) return wrong("add", "b", op.b);
  if (!is_f32(op.out, 2) || !same_shape(op.a, op.out)) return wrong("add", "out", op.out);
  return {};
}

struct Name {
  const char* operator()(const GatherRows&) const { return "gather"; }
  const char* operator()(const RmsNorm&) const { return "rms_norm"; }
  const char* operator()(const MatMul&) const { return "matmul"; }
  const char* operator()(const RopeTable&) const { return "rope_table"; }
  const char* operator()(const Rope&) const { return "rope"; }
  const char* operator()(const StoreKv&) const { return "store_kv"; }
  const char* operator()(const Attention&) const { return "attention"; }
  const char* operator()(const GatedActivation&) const { return "gated_activation"; }
  const char* operator()(const Add&) const { return "add"; }
  const char* operator()(const CopyPages&) const { return "copy_pages"; }
};

}  // namespace

const char* op_name(const Op& op) {
  return std::visit(Name{}, op);
}

Status check_op(const Op& op) {
  return std::visit([](const auto& x) { return check(x); }, op);
}

}  // namespace realm
