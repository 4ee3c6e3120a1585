#include "ops/op.h"

#include <algorithm>
#include <string>

#include "formats/quant/quant_table.h"
#include "ops/kv_types.h"
#include "ops/sample_row.h"

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
  return find_kv_type(view.dtype) != nullptr && view.rank == 4 && view.shape[2] == kPageTokens &&
         view.is_contiguous();
}

// A cache of values of its own, or a view of the first columns of the keys.
bool is_value_cache(const TensorView& v, const TensorView& k) {
  if (v.data != k.data) return is_cache(v) && v.dtype == k.dtype;
  return v.dtype == k.dtype && v.rank == 4 && v.shape[2] == kPageTokens && v.shape[3] >= 1 &&
         v.shape[3] <= k.shape[3] && std::equal(v.stride, v.stride + 3, k.stride) &&
         v.shape[3] % find_block_format(v.dtype)->block_elements == 0;
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

Status check(const LayerNorm& op) {
  if (op.x.dtype != DType::kF32) return wrong("layer_norm", "x", op.x);
  for (const auto& [view, name] : {std::pair{&op.weight, "weight"}, {&op.bias, "bias"}}) {
    if (!view->empty() && (!is_f32(*view, 1) || view->dim(0) != op.x.last_dim())) {
      return wrong("layer_norm", name, *view);
    }
  }
  if (op.out.dtype != DType::kF32 || !same_shape(op.x, op.out)) {
    return wrong("layer_norm", "out", op.out);
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

Status check(const SelectExperts& op) {
  if (!is_f32(op.logits, 2) || op.logits.dim(1) < 1) {
    return wrong("select_experts", "logits", op.logits);
  }
  const int64_t tokens = op.logits.dim(0), experts = op.logits.dim(1);
  if (!op.bias.empty() && (!is_f32(op.bias, 1) || op.bias.dim(0) != experts)) {
    return wrong("select_experts", "bias", op.bias);
  }
  const bool groups_fit = op.num_groups >= 1 && experts % op.num_groups == 0 &&
                          op.num_groups_used >= 1 && op.num_groups_used <= op.num_groups;
  if (!groups_fit) return wrong("select_experts", "groups do not divide logits, which", op.logits);
  const int64_t choice = experts / op.num_groups * op.num_groups_used;
  if (op.ids.dtype != DType::kI32 || op.ids.rank != 2 || op.ids.dim(0) != tokens ||
      op.ids.dim(1) < 1 || op.ids.dim(1) > choice || !op.ids.is_contiguous()) {
    return wrong("select_experts", "ids", op.ids);
  }
  if (!is_f32(op.weights, 2) || !same_shape(op.weights, op.ids) || !op.weights.is_contiguous()) {
    return wrong("select_experts", "weights", op.weights);
  }
  return {};
}

// The inner two dimensions lie together, whatever the step between matrices is.
bool is_stack_of_matrices(const TensorView& view) {
  if (view.rank != 3 || find_block_format(view.dtype) == nullptr) return false;
  return view.dim(0) < 1 || view.dim(1) < 1 ||
         make_view(nullptr, view.dtype, {view.dim(1), view.dim(2)}).stride[0] == view.stride[1];
}

Status check(const ExpertMatMul& op) {
  if (!is_f32(op.x, 3)) return wrong("expert_matmul", "x", op.x);
  if (op.num_parts < 1 || op.num_parts > ExpertMatMul::kMaxParts) {
    return wrong("expert_matmul", "parts", op.x);
  }
  const int64_t tokens = op.x.dim(0), slots = op.parts[0].out.dim(1);
  if (op.x.dim(1) != 1 && op.x.dim(1) != slots) return wrong("expert_matmul", "x", op.x);
  if (!op.ids.empty() && (op.ids.dtype != DType::kI32 || op.ids.rank != 2 ||
                          op.ids.dim(0) != tokens || op.ids.dim(1) != slots)) {
    return wrong("expert_matmul", "ids", op.ids);
  }
  for (int i = 0; i < op.num_parts; ++i) {
    const ExpertMatMul::Part& part = op.parts[i];
    if (!is_stack_of_matrices(part.weight) || part.weight.dim(2) != op.x.dim(2) ||
        part.weight.dim(0) != op.parts[0].weight.dim(0) ||
        (op.ids.empty() && part.weight.dim(0) != slots)) {
      return wrong("expert_matmul", "weight", part.weight);
    }
    if (!part.bias.empty() && (!is_f32(part.bias, 2) || part.bias.dim(0) != part.weight.dim(0) ||
                               part.bias.dim(1) != part.weight.dim(1))) {
      return wrong("expert_matmul", "bias", part.bias);
    }
    if (!is_f32(part.out, 3) || part.out.dim(0) != tokens || part.out.dim(1) != slots ||
        part.out.dim(2) != part.weight.dim(1)) {
      return wrong("expert_matmul", "out", part.out);
    }
  }
  return {};
}

Status check(const CombineExperts& op) {
  if (!is_f32(op.x, 3) || op.x.dim(1) < 1) return wrong("combine_experts", "x", op.x);
  if (!is_f32(op.weights, 2) || op.weights.dim(0) != op.x.dim(0) ||
      op.weights.dim(1) != op.x.dim(1)) {
    return wrong("combine_experts", "weights", op.weights);
  }
  if (!is_f32(op.out, 2) || op.out.dim(0) != op.x.dim(0) || op.out.dim(1) != op.x.dim(2)) {
    return wrong("combine_experts", "out", op.out);
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
  if (!is_f32(op.k, 3) || op.k.dim(1) != op.k_cache.dim(1) || op.k.dim(2) != op.k_cache.dim(3)) {
    return wrong("store_kv", "k", op.k);
  }
  const bool has_values = !op.v.empty() || !op.v_cache.empty();
  if (has_values && !is_cache(op.v_cache)) return wrong("store_kv", "v_cache", op.v_cache);
  if (has_values && (!is_f32(op.v, 3) || op.v.dim(0) != op.k.dim(0) ||
                     op.v.dim(1) != op.v_cache.dim(1) || op.v.dim(2) != op.v_cache.dim(3))) {
    return wrong("store_kv", "v", op.v);
  }
  if (op.slots.dtype != DType::kI64 || op.slots.rank != 1 || op.slots.dim(0) != op.k.dim(0)) {
    return wrong("store_kv", "slots", op.slots);
  }
  return {};
}

Status check(const CopyPages& op) {
  if (!is_cache(op.k_cache)) return wrong("copy_pages", "k_cache", op.k_cache);
  if (!op.v_cache.empty() && !is_cache(op.v_cache)) {
    return wrong("copy_pages", "v_cache", op.v_cache);
  }
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
  if (!is_value_cache(op.v_cache, op.k_cache) || op.v_cache.dim(1) != op.k_cache.dim(1) ||
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
  if (!op.slopes.empty() && (!is_f32(op.slopes, 1) || op.slopes.dim(0) != op.q.dim(1))) {
    return wrong("attention", "slopes", op.slopes);
  }
  if (!op.oldest.empty() && (op.oldest.dtype != DType::kI32 || op.oldest.rank != 1 ||
                             op.oldest.dim(0) != op.q.dim(0) || op.window > 0)) {
    return wrong("attention", "oldest", op.oldest);
  }
  if (!op.shared.empty() && (op.shared.dtype != DType::kI32 || op.shared.rank != 2 ||
                             op.shared.dim(0) != op.page_table.dim(0) || op.shared.dim(1) != 3 ||
                             !op.shared.is_contiguous())) {
    return wrong("attention", "shared", op.shared);
  }
  if (!is_f32(op.out, 3) || op.out.dim(0) != op.q.dim(0) || op.out.dim(1) != op.q.dim(1) ||
      op.out.dim(2) != op.v_cache.dim(3) || !op.out.is_contiguous()) {
    return wrong("attention", "out", op.out);
  }
  return {};
}

Status check(const GatedActivation& op) {
  if (!is_f32(op.gate, 2)) return wrong("gated_activation", "gate", op.gate);
  const bool gated = !op.up.empty();
  if (gated ? !is_f32(op.up, 2) || !same_shape(op.gate, op.up)
            : op.activation == Activation::kSwigluClamped) {
    return wrong("gated_activation", "up", op.up);
  }
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

Status check(const ArgMax& op) {
  if (!is_f32(op.x, 2) || op.x.dim(1) < 1) return wrong("argmax", "x", op.x);
  if (op.out.dtype != DType::kI32 || op.out.rank != 1 || op.out.dim(0) != op.x.dim(0)) {
    return wrong("argmax", "out", op.out);
  }
  return {};
}

Status check(const TopCandidates& op) {
  if (!is_f32(op.x, 2) || op.x.dim(1) < 1) return wrong("top_candidates", "x", op.x);
  const int64_t rows = op.x.dim(0), k = op.values.rank == 2 ? op.values.dim(1) : 0;
  if (!is_f32(op.values, 2) || op.values.dim(0) != rows || k < 1 || k > op.x.dim(1) ||
      k > TopCandidates::kMost) {
    return wrong("top_candidates", "values", op.values);
  }
  if (op.tokens.dtype != DType::kI32 || op.tokens.rank != 2 || op.tokens.dim(0) != rows ||
      op.tokens.dim(1) != k + 1) {
    return wrong("top_candidates", "tokens", op.tokens);
  }
  for (const TensorView* view : {&op.draws, &op.sums}) {
    if (!is_f32(*view, 2) || view->dim(0) != rows || view->dim(1) != 2) {
      return wrong("top_candidates", view == &op.draws ? "draws" : "sums", *view);
    }
  }
  return {};
}

Status check(const SampleTokens& op) {
  if (!is_f32(op.x, 2) || op.x.dim(1) < 1) return wrong("sample_tokens", "x", op.x);
  const int64_t rows = op.x.dim(0);
  // What TopCandidates makes of x.
  const TopCandidates best{op.x, op.sums, op.values, op.tokens, op.sums};
  TRY(check(best));
  const auto is_ints = [](const TensorView& view, int rank, int64_t first) {
    return view.dtype == DType::kI32 && view.rank == rank && (first < 0 || view.dim(0) == first);
  };
  if (!is_ints(op.settings, 2, rows) || op.settings.dim(1) != SampleRow::kWords) {
    return wrong("sample_tokens", "settings", op.settings);
  }
  if (!is_ints(op.changes, 2, -1) || op.changes.dim(1) != 2 || !op.changes.is_contiguous()) {
    return wrong("sample_tokens", "changes", op.changes);
  }
  if (!is_f32(op.work, 2) || !same_shape(op.x, op.work)) {
    return wrong("sample_tokens", "work", op.work);
  }
  if (!is_ints(op.chosen, 1, rows)) return wrong("sample_tokens", "chosen", op.chosen);
  if (!is_f32(op.facts, 2) || op.facts.dim(0) != rows || op.facts.dim(1) != 2) {
    return wrong("sample_tokens", "facts", op.facts);
  }
  return {};
}

Status check(const Scale& op) {
  if (!is_f32(op.x, 2)) return wrong("scale", "x", op.x);
  if (!is_f32(op.out, 2) || !same_shape(op.x, op.out)) return wrong("scale", "out", op.out);
  return {};
}

Status check(const Copy& op) {
  if (!is_f32(op.x, 3)) return wrong("copy", "x", op.x);
  if (!is_f32(op.out, 3) || !same_shape(op.x, op.out)) return wrong("copy", "out", op.out);
  return {};
}

struct Name {
  const char* operator()(const GatherRows&) const { return "gather"; }
  const char* operator()(const RmsNorm&) const { return "rms_norm"; }
  const char* operator()(const LayerNorm&) const { return "layer_norm"; }
  const char* operator()(const MatMul&) const { return "matmul"; }
  const char* operator()(const SelectExperts&) const { return "select_experts"; }
  const char* operator()(const ExpertMatMul&) const { return "expert_matmul"; }
  const char* operator()(const CombineExperts&) const { return "combine_experts"; }
  const char* operator()(const RopeTable&) const { return "rope_table"; }
  const char* operator()(const Rope&) const { return "rope"; }
  const char* operator()(const StoreKv&) const { return "store_kv"; }
  const char* operator()(const Attention&) const { return "attention"; }
  const char* operator()(const GatedActivation&) const { return "gated_activation"; }
  const char* operator()(const Add&) const { return "add"; }
  const char* operator()(const Scale&) const { return "scale"; }
  const char* operator()(const Copy&) const { return "copy"; }
  const char* operator()(const CopyPages&) const { return "copy_pages"; }
  const char* operator()(const ArgMax&) const { return "argmax"; }
  const char* operator()(const TopCandidates&) const { return "top_candidates"; }
  const char* operator()(const SampleTokens&) const { return "sample_tokens"; }
};

}  // namespace

const char* op_name(const Op& op) {
  return std::visit(Name{}, op);
}

Status check_op(const Op& op) {
  return std::visit([](const auto& x) { return check(x); }, op);
}

}  // namespace realm
