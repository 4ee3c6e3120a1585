// Cases of the mixture-of-experts ops: choosing, grouped products, the weighted sum.
#include <algorithm>
#include <string>

#include "formats/quant/quant_table.h"
#include "ops/case_builder.h"
#include "ops/case_list.h"

namespace realm {
namespace {

struct Routing {
  int64_t tokens, experts, used;
  RouterScore score = RouterScore::kSoftmax;
  bool bias = false, normalize = false;
  int64_t num_groups = 1, num_groups_used = 1;
  GroupScore group_score = GroupScore::kMax;
  float scale = 1.0f;
  Layout layout = {};
};

void select_cases(std::vector<CaseRow>& rows) {
  const auto add = [&rows](const std::string& name, const Routing& r) {
    rows.push_back({"select_experts", name, [r] {
                      CaseBuilder b(81);
                      SelectExperts op{.logits = b.floats({r.tokens, r.experts}, r.layout, 2.0f),
                                       .bias = {},
                                       .ids = b.output_ints({r.tokens, r.used}),
                                       .weights = b.output({r.tokens, r.used}),
                                       .score = r.score,
                                       .group_score = r.group_score,
                                       .num_groups = r.num_groups,
                                       .num_groups_used = r.num_groups_used,
                                       .normalize = r.normalize,
                                       .scale = r.scale};
                      if (r.bias) op.bias = b.floats({r.experts}, {}, 0.3f);
                      return b.finish(op);
                    }});
  };
  using enum RouterScore;
  add("softmax 2 of 8", {37, 8, 2});
  add("softmax 8 of 128, normalized", {9, 128, 8, kSoftmax, false, true});
  add("softmax of odd count, strided",
      {5, 60, 4, kSoftmax, false, false, 1, 1, GroupScore::kMax, 1.0f, {12, 4}});
  add("softmax of the chosen, 4 of 32", {17, 32, 4, kSoftmaxOfChosen});
  add("sigmoid, biased, normalized, scaled",
      {7, 96, 6, kSigmoid, true, true, 1, 1, GroupScore::kMax, 2.5f});
  add("groups by their best", {33, 64, 6, kSoftmax, false, false, 8, 3, GroupScore::kMax, 16.0f});
  add("groups by their best two, biased",
      {33, 256, 8, kSigmoid, true, true, 8, 4, GroupScore::kSumOfTopTwo, 2.5f});
  add("groups of one", {5, 8, 3, kSigmoid, false, true, 8, 4, GroupScore::kSumOfTopTwo});
  add("all of them", {4, 5, 5});
  add("a gate of one", {6, 1, 1, kSigmoid});
  add("nothing", {0, 8, 2});
}

struct Product {
  std::vector<DType> types;
  int64_t tokens, slots, experts, rows, k;
  bool shared_x = true, bias = false, per_slot = false;
  Layout x_layout = {}, out_layout = {}, weight_layout = {};
};

OpCase make_product(const Product& p) {
  CaseBuilder b(82);
  ExpertMatMul op{.x = b.floats({p.tokens, p.shared_x ? 1 : p.slots, p.k}, p.x_layout),
                  .ids = {},
                  .num_parts = static_cast<int>(p.types.size()),
                  .parts = {}};
  if (!p.per_slot) {
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < p.tokens; ++t) {
      const auto chosen =
          b.distinct(static_cast<int32_t>(p.slots), static_cast<int32_t>(p.experts));
      ids.insert(ids.end(), chosen.begin(), chosen.end());
    }
    op.ids = b.ints(ids, p.tokens, p.slots);
  }
  for (size_t i = 0; i < p.types.size(); ++i) {
    ExpertMatMul::Part& part = op.parts[i];
    part.weight = b.experts(p.types[i], p.experts, p.rows, p.k, p.weight_layout);
    if (p.bias) part.bias = b.floats({p.experts, p.rows});
    part.out = b.output({p.tokens, p.slots, p.rows}, p.out_layout);
  }
  return b.finish(op);
}

void product_cases(std::vector<CaseRow>& rows) {
  const auto add = [&rows](const std::string& name, const Product& p) {
    rows.push_back({"expert_matmul", name, [p] { return make_product(p); }});
  };
  using enum DType;
  for (const DType type : {kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_K, kQ6_K, kIQ4_XS, kMXFP4}) {
    const std::string name = find_block_format(type)->name;
    add(name + " one token", {{type, type}, 1, 3, 8, 33, 256});
    add(name + " a batch", {{type, type}, 45, 2, 5, 40, 256});
    add(name + " a batch, x of each slot", {{type}, 20, 3, 6, 65, 256, false});
  }
  for (const DType type : {kF16, kMXFP4}) {
    const std::string name = find_block_format(type)->name;
    add(name + " biased", {{type, type}, 11, 4, 9, 70, 96, true, true});
    add(name + " biased, strided",
        {{type}, 6, 2, 4, 36, 64, false, true, false, {32, 4}, {64, 4}, {34, 2}});
  }
  for (const DType type : {kF32, kF16, kQ8_0}) {
    const std::string name = find_block_format(type)->name;
    add(name + " per slot", {{type}, 9, 4, 4, 64, 32, false, false, true});
    add(name + " per slot, strided",
        {{type}, 3, 5, 5, 32, 64, false, false, true, {64, 0}, {128, 0}, {68, 0}});
  }
  add("one row, one expert", {{kF32}, 3, 1, 1, 1, 5});
  add("nothing", {{kQ8_0}, 0, 2, 4, 32, 64});
}

void combine_cases(std::vector<CaseRow>& rows) {
  for (const bool accumulate : {false, true}) {
    const std::string name = accumulate ? "accumulate" : "assign";
    for (const int64_t dim : {1, 17, 64, 1000}) {
      rows.push_back({"combine_experts", name + ", dim " + std::to_string(dim), [=] {
                        CaseBuilder b(83);
                        const Layout layout = {12, 4};
                        return b.finish(CombineExperts{.x = b.floats({5, 3, dim}, {8, 4}),
                                                       .weights = b.floats({5, 3}),
                                                       .out = accumulate
                                                                  ? b.floats({5, dim}, layout)
                                                                  : b.output({5, dim}, layout),
                                                       .accumulate = accumulate});
                      }});
    }
  }
  rows.push_back({"combine_experts", "one slot", [] {
                    CaseBuilder b(84);
                    return b.finish(CombineExperts{.x = b.floats({4, 1, 96}),
                                                   .weights = b.floats({4, 1}),
                                                   .out = b.output({4, 96})});
                  }});
  rows.push_back({"combine_experts", "nothing", [] {
                    CaseBuilder b(85);
                    return b.finish(CombineExperts{.x = b.floats({0, 2, 96}),
                                                   .weights = b.floats({0, 2}),
                                                   .out = b.output({0, 96})});
                  }});
}

}  // namespace

void moe_check_cases(std::vector<CaseRow>& rows) {
  select_cases(rows);
  product_cases(rows);
  combine_cases(rows);
}

// The experts' products of qwen3-30b-a3b (128 experts, 8 a token, 2048 x 768) and of mixtral-8x7b's
// share of a layer (2 of 8, here 4096 x 1792 to bound the memory).
void moe_bench_cases(std::vector<CaseRow>& rows) {
  struct Shape {
    const char* name;
    int64_t experts, slots, rows, k;
  };
  for (const Shape& s : {Shape{"8 of 128, 768x2048", 128, 8, 768, 2048},
                         Shape{"2 of 8, 1792x4096", 8, 2, 1792, 4096}}) {
    for (const DType type : {DType::kQ4_K, DType::kQ8_0, DType::kMXFP4}) {
      for (const int64_t tokens : {1, 16, 512}) {
        const BlockFormat& format = *find_block_format(type);
        const Product p{{type, type}, tokens, s.slots, s.experts, s.rows, s.k};
        const auto touched = static_cast<double>(std::min(s.experts, tokens * s.slots));
        const auto products = static_cast<double>(2 * tokens * s.slots * s.rows * s.k);
        rows.push_back(
            {"expert_matmul",
             std::string(format.name) + " " + s.name + " tokens " + std::to_string(tokens),
             [p] { return make_product(p); },
             2 * touched * static_cast<double>(row_bytes(format, s.rows * s.k)), 2.0 * products});
      }
    }
  }
}

}  // namespace realm
