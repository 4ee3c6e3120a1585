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
  // More rows of an expert than a tile of the matrix units has, gate and up of two types, and
  // experts that many of a few tokens share.
  for (const DType type : {kF16, kQ8_0, kQ4_K, kMXFP4}) {
    const std::string name = find_block_format(type)->name;
    add(name + " many of an expert", {{type, type}, 150, 2, 3, 70, 512});
    add(name + " few of an expert", {{type, type}, 70, 2, 5, 150, 512});
    add(name + " shared by few tokens", {{type, type}, 7, 3, 4, 90, 768});
    add(name + " an expert for all", {{type}, 200, 1, 1, 33, 256, false});
  }
  add("two types", {{kQ4_K, kQ8_0}, 30, 2, 6, 48, 256});
  for (const DType type : {kQ4_1, kQ5_0, kQ5_1, kQ2_K, kQ3_K, kQ5_K, kTQ1_0, kTQ2_0, kIQ4_NL,
                           kIQ1_S, kIQ1_M, kIQ2_XXS, kIQ2_XS, kIQ2_S, kIQ3_XXS, kIQ3_S, kNVFP4}) {
    const std::string name = find_block_format(type)->name;
    for (const int64_t tokens : {3, 60}) {
      add(name + " tokens " + std::to_string(tokens), {{type, type}, tokens, 2, 3, 24, 256});
    }
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

// The experts' products of qwen3-30b-a3b, mixtral-8x7b and gpt-oss-20b, and the choosing before
// them.
void moe_bench_cases(std::vector<CaseRow>& rows) {
  struct Shape {
    const char* name;
    DType type;
    int64_t experts, slots, rows, k;
    bool is_down = false, bias = false;
  };
  using enum DType;
  for (const Shape& s : {Shape{"8 of 128, 768x2048", kQ4_K, 128, 8, 768, 2048},
                         Shape{"8 of 128, 2048x768", kQ4_K, 128, 8, 2048, 768, true},
                         Shape{"8 of 128, 768x2048", kQ8_0, 128, 8, 768, 2048},
                         Shape{"8 of 128, 768x2048", kBF16, 128, 8, 768, 2048},
                         Shape{"2 of 8, 14336x4096", kQ4_K, 8, 2, 14336, 4096},
                         Shape{"4 of 32, 2880x2880", kMXFP4, 32, 4, 2880, 2880, false, true}}) {
    for (const int64_t tokens : {1, 8, 32, 128, 512, 2048}) {
      const BlockFormat& format = *find_block_format(s.type);
      Product p{{s.type}, tokens, s.slots, s.experts, s.rows, s.k, !s.is_down, s.bias};
      if (!s.is_down) p.types.push_back(s.type);
      const auto parts = static_cast<double>(p.types.size());
      const auto touched = static_cast<double>(std::min(s.experts, tokens * s.slots));
      const auto products = static_cast<double>(tokens * s.slots * s.rows * s.k);
      rows.push_back({"expert_matmul",
                      std::string(format.name) + " " + s.name + " tokens " + std::to_string(tokens),
                      [p] { return make_product(p); },
                      parts * touched * static_cast<double>(row_bytes(format, s.rows * s.k)),
                      2.0 * parts * products});
    }
  }
  for (const int64_t tokens : {1, 32, 2048}) {
    const std::string name = "8 of 128 tokens " + std::to_string(tokens);
    rows.push_back({"select_experts", name, [tokens] {
                      CaseBuilder b(86);
                      return b.finish(SelectExperts{.logits = b.floats({tokens, 128}, {}, 2.0f),
                                                    .bias = {},
                                                    .ids = b.output_ints({tokens, 8}),
                                                    .weights = b.output({tokens, 8})});
                    }});
    rows.push_back({"matmul", "F32 router 128x2048 tokens " + std::to_string(tokens),
                    [tokens] {
                      CaseBuilder b(87);
                      MatMul op;
                      op.x = b.floats({tokens, 2048});
                      op.parts[0] = {.weight = b.weight(DType::kF32, 128, 2048),
                                     .bias = {},
                                     .out = b.output({tokens, 128})};
                      return b.finish(op);
                    },
                    4.0 * 128 * 2048, 2.0 * 128 * 2048 * static_cast<double>(tokens)});
    rows.push_back({"combine_experts", "8 of 2048 columns tokens " + std::to_string(tokens),
                    [tokens] {
                      CaseBuilder b(88);
                      return b.finish(CombineExperts{.x = b.floats({tokens, 8, 2048}),
                                                     .weights = b.floats({tokens, 8}),
                                                     .out = b.floats({tokens, 2048}),
                                                     .accumulate = true});
                    },
                    4.0 * 10 * 2048 * static_cast<double>(tokens)});
  }
}

}  // namespace realm
