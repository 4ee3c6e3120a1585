// The cases of the ops that have no file of their own (case_list.h), op by op.
#include "ops/cases.h"

#include <cmath>

#include "formats/quant/quant_table.h"
#include "ops/case_builder.h"
#include "ops/case_list.h"
#include "ops/kv_types.h"

namespace realm {
namespace {

std::string count(const char* what, int64_t n) {
  return std::string(what) + " " + std::to_string(n);
}

bool is_float(const BlockFormat& format) {
  return format.unpack == nullptr;
}

// Weights lie wherever a file has them, but numbers at multiples of their size.
size_t odd_place(DType type) {
  return type == DType::kF32 ? 4 : 2;
}

void gather_cases(std::vector<CaseRow>& rows) {
  for (const BlockFormat& format : block_formats()) {
    rows.push_back({"gather", format.name, [type = format.type] {
                      CaseBuilder b(1);
                      return b.finish(
                          GatherRows{.table = b.weight(type, 9, 256, {0, odd_place(type)}),
                                     .ids = b.ints({8, 0, 3, 3, 5}),
                                     .out = b.output({5, 256})});
                    }});
  }
  for (const int64_t dim : {1, 3, 17, 100}) {
    rows.push_back({"gather", count("f32 strided scaled dim", dim), [dim] {
                      CaseBuilder b(2);
                      return b.finish(GatherRows{.table = b.floats({6, dim}, {12, 4}),
                                                 .ids = b.ints({5, 1, 0}),
                                                 .out = b.output({3, dim}, {20, 4}),
                                                 .scale = 2.5f});
                    }});
  }
  rows.push_back({"gather", "nothing", [] {
                    CaseBuilder b(3);
                    return b.finish(GatherRows{
                        .table = b.floats({6, 32}), .ids = b.ints({}), .out = b.output({0, 32})});
                  }});
}

void norm_cases(std::vector<CaseRow>& rows) {
  for (const int64_t dim : {1, 7, 16, 31, 64, 100, 4097}) {
    rows.push_back({"rms_norm", count("dim", dim), [dim] {
                      CaseBuilder b(11);
                      return b.finish(RmsNorm{.x = b.floats({3, dim}, {8, 4}),
                                              .weight = b.floats({dim}, {0, 4}),
                                              .out = b.output({3, dim}, {4, 8})});
                    }});
  }
  rows.push_back({"rms_norm", "heads in place, strided", [] {
                    CaseBuilder b(12);
                    const TensorView x = b.floats({4, 3, 48}, {64, 0});
                    return b.finish(
                        RmsNorm{.x = x, .weight = b.floats({48}), .out = x, .eps = 1e-6f});
                  }});
  rows.push_back({"rms_norm", "one row of rank 1", [] {
                    CaseBuilder b(13);
                    return b.finish(RmsNorm{
                        .x = b.floats({40}), .weight = b.floats({40}), .out = b.output({40})});
                  }});
  rows.push_back({"rms_norm", "tiny values", [] {
                    CaseBuilder b(14);
                    return b.finish(RmsNorm{.x = b.floats({2, 64}, {}, 1e-20f),
                                            .weight = b.floats({64}),
                                            .out = b.output({2, 64})});
                  }});
  rows.push_back({"rms_norm", "nothing", [] {
                    CaseBuilder b(15);
                    return b.finish(RmsNorm{.x = b.floats({0, 64}),
                                            .weight = b.floats({64}),
                                            .out = b.output({0, 64})});
                  }});
  for (const int64_t dim : {1, 7, 16, 31, 64, 100, 4097}) {
    rows.push_back({"layer_norm", count("dim", dim), [dim] {
                      CaseBuilder b(16);
                      return b.finish(LayerNorm{.x = b.floats({3, dim}, {8, 4}),
                                                .weight = b.floats({dim}, {0, 4}),
                                                .bias = b.floats({dim}),
                                                .out = b.output({3, dim}, {4, 8})});
                    }});
  }
  rows.push_back({"layer_norm", "heads in place, strided, no bias", [] {
                    CaseBuilder b(17);
                    const TensorView x = b.floats({4, 3, 48}, {64, 0});
                    return b.finish(
                        LayerNorm{.x = x, .weight = b.floats({48}), .bias = {}, .out = x});
                  }});
  rows.push_back(
      {"layer_norm", "neither weight nor bias", [] {
         CaseBuilder b(18);
         return b.finish(
             LayerNorm{.x = b.floats({2, 50}), .weight = {}, .bias = {}, .out = b.output({2, 50})});
       }});
  rows.push_back({"layer_norm", "nothing", [] {
                    CaseBuilder b(19);
                    return b.finish(LayerNorm{.x = b.floats({0, 64}),
                                              .weight = b.floats({64}),
                                              .bias = b.floats({64}),
                                              .out = b.output({0, 64})});
                  }});
}

struct Product {
  std::vector<DType> types;  // of the parts
  std::vector<int64_t> part_rows;
  int64_t tokens, k;
  bool bias = false, accumulate = false;
  Layout x_layout = {}, out_layout = {};
  size_t weight_misalignment = 0;
};

OpCase make_product(const Product& p) {
  CaseBuilder b(21);
  MatMul op{.x = b.floats({p.tokens, p.k}, p.x_layout),
            .num_parts = static_cast<int>(p.types.size()),
            .parts = {},
            .accumulate = p.accumulate};
  for (size_t i = 0; i < p.types.size(); ++i) {
    MatMul::Part& part = op.parts[i];
    part.weight = b.weight(p.types[i], p.part_rows[i], p.k, {0, p.weight_misalignment});
    if (p.bias) part.bias = b.floats({p.part_rows[i]}, {0, 4});
    part.out = p.accumulate ? b.floats({p.tokens, p.part_rows[i]}, p.out_layout)
                            : b.output({p.tokens, p.part_rows[i]}, p.out_layout);
  }
  return b.finish(op);
}

void product(std::vector<CaseRow>& rows, const std::string& name, const Product& p) {
  rows.push_back({"matmul", name, [p] { return make_product(p); }});
}

void matmul_cases(std::vector<CaseRow>& rows) {
  // backends/cpu/matmul_test.cpp goes through every format's codes; here are the shapes.
  for (const BlockFormat& format : block_formats()) {
    const int64_t k = is_float(format) ? 100 : 2 * std::max(format.block_elements, 128);
    for (const int64_t tokens : {1, 3, 37}) {
      product(rows, std::string(format.name) + count(" tokens", tokens),
              {{format.type}, {33}, tokens, k});
    }
  }
  using enum DType;
  for (const DType type : {kF32, kF16, kBF16, kQ8_0, kQ4_K}) {
    const std::string name = find_block_format(type)->name;
    product(rows, name + " one row", {{type}, {1}, 5, 256});
    product(rows, name + " nothing", {{type}, {33}, 0, 256});
    product(
        rows, name + " three parts, bias, strided",
        {{type, type, type}, {65, 32, 7}, 4, 512, true, false, {64, 4}, {36, 4}, odd_place(type)});
    product(rows, name + " accumulate, bias", {{type}, {70}, 2, 256, true, true});
    product(rows, name + " accumulate, strided",
            {{type, type}, {31, 64}, 9, 256, false, true, {4, 0}, {8, 0}, odd_place(type)});
  }
  // Quantizers mix types in one layer; the parts of an op may want activations in different groups.
  for (const int64_t tokens : {3, 40, 100}) {
    product(rows, "parts of mixed types" + count(", tokens", tokens),
            {{kIQ4_NL, kQ5_K, kQ8_0}, {64, 33, 32}, tokens, 512});
    product(rows, "parts of mixed types, K-quants first" + count(", tokens", tokens),
            {{kQ6_K, kQ4_0, kF16}, {64, 33, 32}, tokens, 512});
  }
  for (const int64_t tokens : {1, 2, 30, 60, 100, 200}) {
    product(rows, "Q4_K and Q6_K" + count(", tokens", tokens),
            {{kQ4_K, kQ4_K, kQ6_K}, {96, 33, 40}, tokens, 768});
    product(rows, "Q5_K and Q6_K" + count(", tokens", tokens),
            {{kQ5_K, kQ6_K}, {7, 300}, tokens, 512, true, true});
  }
  // Long rows and many tokens, for kernels that keep several pieces of both on their way.
  for (const DType type : {kF16, kBF16, kQ8_0, kQ4_0, kQ4_K, kQ5_K, kQ6_K, kIQ4_XS}) {
    const std::string name = find_block_format(type)->name;
    for (const auto& [tokens, outputs] : std::initializer_list<std::pair<int64_t, int64_t>>{
             {7, 150}, {12, 150}, {30, 150}, {100, 70}, {300, 40}}) {
      product(rows, name + " long rows" + count(", tokens", tokens),
              {{type}, {outputs}, tokens, 4096});
    }
  }
  product(rows, "Q4_K, Q6_K and Q8_0 of one x", {{kQ4_K, kQ6_K, kQ8_0}, {40, 8, 8}, 3, 256});
  product(rows, "F16 and Q4_0 of one x", {{kF16, kQ4_0}, {16, 48}, 6, 64, true});
  for (const int64_t k : {1, 5, 15, 17, 33, 257}) {
    product(rows, count("F32 k", k), {{kF32}, {18}, 3, k});
    product(rows, count("F16 k", k), {{kF16}, {18}, 3, k, false, false, {}, {}, 2});
  }
}

void rope_cases(std::vector<CaseRow>& rows) {
  for (const int64_t n_rot : {2, 6, 64, 130}) {
    rows.push_back({"rope_table", count("n_rot", n_rot), [n_rot] {
                      CaseBuilder b(31);
                      std::vector<float> inv_freq;
                      for (int64_t i = 0; i < n_rot / 2; ++i) {
                        inv_freq.push_back(1.0f / static_cast<float>(1 + i * i));
                      }
                      return b.finish(RopeTable{.positions = b.ints({0, 1, 77, 131071, 1 << 23}),
                                                .inv_freq = b.values(inv_freq),
                                                .out = b.output({5, n_rot}, {4, 4}),
                                                .magnitude = 1.1f});
                    }});
  }
  rows.push_back({"rope_table", "nothing", [] {
                    CaseBuilder b(32);
                    return b.finish(RopeTable{.positions = b.ints({}),
                                              .inv_freq = b.values({1.0f}),
                                              .out = b.output({0, 2})});
                  }});
  for (const RopePairs pairs : {RopePairs::kAdjacent, RopePairs::kHalves}) {
    const std::string name = pairs == RopePairs::kAdjacent ? "adjacent" : "halves";
    const auto rope = [&rows, pairs](const std::string& title, int64_t tokens, int64_t heads,
                                     int64_t dim, int64_t n_rot, Layout layout) {
      rows.push_back({"rope", title, [=] {
                        CaseBuilder b(33);
                        return b.finish(Rope{.x = b.floats({tokens, heads, dim}, layout),
                                             .table = b.floats({tokens, n_rot}),
                                             .pairs = pairs});
                      }});
    };
    rope(name + " whole heads", 5, 3, 64, 64, {});
    rope(name + " part of odd heads, strided", 3, 2, 33, 30, {12, 4});
    rope(name + " one pair", 2, 1, 4, 2, {});
    rope(name + " nothing", 0, 4, 64, 64, {});
  }
}

void kv_cases(std::vector<CaseRow>& rows) {
  for (const KvType& kv : kv_types()) {
    const DType type = kv.dtype;
    const std::string name = find_block_format(type)->name;
    const auto store = [&rows, type](const std::string& title, int64_t tokens, int64_t heads,
                                     int64_t k_dim, int64_t v_dim, Layout layout, float scale) {
      rows.push_back({"store_kv", title, [=] {
                        CaseBuilder b(41);
                        std::vector<int64_t> slots;
                        for (const int32_t slot : b.distinct(static_cast<int32_t>(tokens), 96)) {
                          slots.push_back(slot);
                        }
                        return b.finish(
                            StoreKv{.k = b.floats({tokens, heads, k_dim}, layout, scale),
                                    .v = b.floats({tokens, heads, v_dim}, layout, scale),
                                    .k_cache = b.cache(type, 3, heads, k_dim),
                                    .v_cache = b.cache(type, 3, heads, v_dim),
                                    .slots = b.longs(slots)});
                      }});
    };
    store(name, 7, 2, 64, 64, {}, 1.0f);
    store(name + " sizes differ, strided", 40, 3, 96, 32, {16, 4}, 1.0f);
    store(name + " tiny values", 2, 1, 32, 32, {}, 1e-7f);
    store(name + " large values", 2, 1, 32, 32, {}, 1e4f);
    store(name + " nothing", 0, 2, 64, 64, {}, 1.0f);
    rows.push_back({"store_kv", name + " values in keys", [type] {
                      CaseBuilder b(44);
                      return b.finish(StoreKv{.k = b.floats({5, 1, 96}, {32, 0}),
                                              .v = {},
                                              .k_cache = b.cache(type, 2, 1, 96),
                                              .v_cache = {},
                                              .slots = b.longs({3, 63, 0, 33, 31})});
                    }});
    rows.push_back({"copy_pages", name + " values in keys", [type] {
                      CaseBuilder b(45);
                      return b.finish(CopyPages{.k_cache = b.cache(type, 3, 1, 96),
                                                .v_cache = {},
                                                .pairs = b.ints({2, 0}, 1, 2)});
                    }});
    rows.push_back({"copy_pages", name, [type] {
                      CaseBuilder b(42);
                      return b.finish(CopyPages{.k_cache = b.cache(type, 6, 2, 64),
                                                .v_cache = b.cache(type, 6, 2, 32),
                                                .pairs = b.ints({0, 5, 3, 1, 2, 4}, 3, 2)});
                    }});
  }
  rows.push_back({"copy_pages", "nothing", [] {
                    CaseBuilder b(43);
                    return b.finish(CopyPages{.k_cache = b.cache(DType::kF16, 2, 1, 32),
                                              .v_cache = b.cache(DType::kF16, 2, 1, 32),
                                              .pairs = b.ints({}, 0, 2)});
                  }});
}

void elementwise_cases(std::vector<CaseRow>& rows) {
  const std::pair<Activation, const char*> kinds[] = {
      {Activation::kSilu, "silu"},
      {Activation::kGeluTanh, "gelu_tanh"},
      {Activation::kGelu, "gelu"},
      {Activation::kRelu, "relu"},
      {Activation::kReluSquared, "relu_squared"},
      {Activation::kSwigluClamped, "swiglu_clamped"}};
  for (const auto& [kind, name] : kinds) {
    const auto gated = [&rows, kind = kind](const std::string& title, int64_t tokens, int64_t dim,
                                            bool in_place, Layout layout, float scale) {
      rows.push_back({"gated_activation", title, [=] {
                        CaseBuilder b(51);
                        const TensorView gate = b.floats({tokens, dim}, layout, scale);
                        const TensorView up = b.floats({tokens, dim}, layout);
                        return b.finish(GatedActivation{
                            .gate = gate,
                            .up = up,
                            .out = in_place ? gate : b.output({tokens, dim}, layout),
                            .activation = kind});
                      }});
    };
    gated(std::string(name), 3, 1000, false, {}, 3.0f);
    gated(std::string(name) + " odd, strided", 4, 37, false, {20, 4}, 3.0f);
    gated(std::string(name) + " in place", 2, 65, true, {}, 3.0f);
    gated(std::string(name) + " beyond exp's range", 2, 64, false, {}, 200.0f);
    gated(std::string(name) + " nothing", 0, 64, false, {}, 1.0f);
    if (kind == Activation::kSwigluClamped) continue;  // has a gate always
    rows.push_back({"gated_activation", std::string(name) + " without a gate", [kind = kind] {
                      CaseBuilder b(55);
                      return b.finish(GatedActivation{.gate = b.floats({3, 70}, {8, 4}, 3.0f),
                                                      .up = {},
                                                      .out = b.output({3, 70}, {4, 0}),
                                                      .activation = kind});
                    }});
  }
  for (const bool broadcast : {false, true}) {
    const std::string name = broadcast ? "a row to each" : "two tensors";
    for (const int64_t dim : {1, 15, 64, 1001}) {
      rows.push_back({"add", name + count(", dim", dim), [=] {
                        CaseBuilder b(52);
                        return b.finish(Add{
                            .a = b.floats({5, dim}, {8, 4}),
                            .b = broadcast ? b.floats({dim}, {0, 4}) : b.floats({5, dim}, {4, 0}),
                            .out = b.output({5, dim}, {12, 4})});
                      }});
    }
    rows.push_back({"add", name + ", in place", [=] {
                      CaseBuilder b(53);
                      const TensorView a = b.floats({3, 48});
                      return b.finish(Add{
                          .a = a, .b = broadcast ? b.floats({48}) : b.floats({3, 48}), .out = a});
                    }});
    rows.push_back({"add", name + ", nothing", [=] {
                      CaseBuilder b(54);
                      return b.finish(Add{.a = b.floats({0, 48}),
                                          .b = broadcast ? b.floats({48}) : b.floats({0, 48}),
                                          .out = b.output({0, 48})});
                    }});
  }
}

void argmax_cases(std::vector<CaseRow>& rows) {
  for (const int64_t n : {1, 33, 5000}) {
    rows.push_back(
        {"argmax", count("n", n), [n] {
           CaseBuilder b(55);
           return b.finish(ArgMax{.x = b.floats({4, n}, {12, 4}), .out = b.ints({-7, -7, -7, -7})});
         }});
  }
  rows.push_back({"argmax", "equal ones, and a row that is not finite", [] {
                    CaseBuilder b(56);
                    std::vector<float> values(2 * 70, 1.0f);
                    values[9] = values[40] = 3.0f;
                    values[75] = INFINITY;
                    OpCase made = b.finish(ArgMax{.x = b.values(values), .out = b.ints({-7, -7})});
                    auto& op = std::get<ArgMax>(made.op);
                    op.x = make_view(op.x.data, DType::kF32, {2, 70});
                    return made;
                  }});
}

// `values` as rows of n.
OpCase top_case(CaseBuilder& b, const TensorView& x, const TensorView& draws, int64_t k) {
  const int64_t rows = x.dim(0);
  return b.finish(TopCandidates{.x = x,
                                .draws = draws,
                                .values = b.output({rows, k}, {4, 4}),
                                .tokens = b.output_ints({rows, 1 + k}),
                                .sums = b.output({rows, 2}, {8, 0})});
}

TensorView as_rows(TensorView values, int64_t rows) {
  return make_view(values.data, DType::kF32, {rows, values.dim(0) / rows});
}

void top_candidates_cases(std::vector<CaseRow>& rows) {
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 1}, {33, 5}, {700, 128}, {5000, 128}}) {
    rows.push_back(
        {"top_candidates", count("n", n), [n = n, k = k] {
           CaseBuilder b(59);
           const TensorView draws = as_rows(b.values({1.0f, 0.0f, 1.25f, 0.37f, 0.5f, 0.99f}), 3);
           return top_case(b, b.floats({3, n}, {12, 4}, 3.0f), draws, k);
         }});
  }
  rows.push_back({"top_candidates", "equal ones", [] {
                    CaseBuilder b(60);
                    std::vector<float> values(2 * 6000, 1.0f);
                    values[4000] = values[17] = 3.0f;  // of the first row; the second is all alike
                    const TensorView draws = as_rows(b.values({1.0f, 0.6f, 1.0f, 0.123f}), 2);
                    return top_case(b, as_rows(b.values(values), 2), draws, 100);
                  }});
  rows.push_back({"top_candidates", "a row that is not finite", [] {
                    CaseBuilder b(62);
                    std::vector<float> values(2 * 70, 1.0f);
                    values[9] = 3.0f;
                    values[75] = -INFINITY;
                    const TensorView draws = as_rows(b.values({1.0f, 0.6f, 1.0f, 0.1f}), 2);
                    return top_case(b, as_rows(b.values(values), 2), draws, 7);
                  }});
  rows.push_back({"top_candidates", "all that is large in one place, none of them equal", [] {
                    CaseBuilder b(61);
                    std::vector<float> values(9000);
                    for (size_t i = 0; i < values.size(); ++i) {
                      values[i] = -0.001f * static_cast<float>(i);
                    }
                    const TensorView draws = as_rows(b.values({1.0f, 0.5f}), 1);
                    return top_case(b, as_rows(b.values(values), 1), draws, 128);
                  }});
}

void scale_cases(std::vector<CaseRow>& rows) {
  for (const float cap : {0.0f, 30.0f}) {
    const std::string name = cap > 0 ? "capped" : "scaled";
    for (const int64_t dim : {1, 15, 64, 1001}) {
      rows.push_back({"scale", name + count(", dim", dim), [=] {
                        CaseBuilder b(56);
                        return b.finish(Scale{.x = b.floats({3, dim}, {8, 4}, 20.0f),
                                              .out = b.output({3, dim}, {4, 4}),
                                              .scale = 1.7f,
                                              .soft_cap = cap});
                      }});
    }
    rows.push_back({"scale", name + ", in place", [=] {
                      CaseBuilder b(57);
                      const TensorView x = b.floats({4, 50}, {}, 500.0f);
                      return b.finish(Scale{.x = x, .out = x, .scale = 0.5f, .soft_cap = cap});
                    }});
    rows.push_back(
        {"scale", name + ", nothing", [=] {
           CaseBuilder b(58);
           return b.finish(Scale{
               .x = b.floats({0, 50}), .out = b.output({0, 50}), .scale = 0.5f, .soft_cap = cap});
         }});
  }
  const auto copy = [&rows](const std::string& name, int64_t tokens, Layout from, Layout to) {
    rows.push_back({"copy", name, [=] {
                      CaseBuilder b(59);
                      return b.finish(Copy{.x = b.floats({tokens, 3, 17}, from),
                                           .out = b.output({tokens, 3, 17}, to)});
                    }});
  };
  copy("together", 5, {}, {});
  copy("strided", 7, {20, 4}, {64, 8});
  copy("nothing", 0, {}, {});
  copy("more rows than a GPU's grid is high", 30000, {}, {4, 0});
}

void bench_products(std::vector<CaseRow>& rows) {
  constexpr int64_t kRows = 4096, kColumns = 4096;
  using enum DType;
  for (const DType type : {kF16, kBF16, kQ8_0, kQ4_0, kQ4_K, kQ6_K, kQ5_K, kIQ4_XS, kMXFP4}) {
    for (const int64_t tokens : {1, 8, 512}) {
      const BlockFormat& format = *find_block_format(type);
      const Product p{{type}, {kRows}, tokens, kColumns};
      rows.push_back({"matmul", std::string(format.name) + " 4096x4096" + count(" tokens", tokens),
                      [p] { return make_product(p); },
                      static_cast<double>(row_bytes(format, kRows * kColumns)) +
                          static_cast<double>(4 * tokens * (kRows + kColumns)),
                      2.0 * kRows * kColumns * static_cast<double>(tokens)});
    }
  }
}

void bench_rows(std::vector<CaseRow>& rows) {
  constexpr int64_t kTokens = 512, kDim = 4096;
  constexpr double kTensor = 4.0 * kTokens * kDim;
  rows.push_back({"rms_norm", "512 x 4096",
                  [] {
                    CaseBuilder b(61);
                    return b.finish(RmsNorm{.x = b.floats({kTokens, kDim}),
                                            .weight = b.floats({kDim}),
                                            .out = b.output({kTokens, kDim})});
                  },
                  2 * kTensor});
  rows.push_back({"gated_activation", "silu 512 x 4096",
                  [] {
                    CaseBuilder b(62);
                    return b.finish(GatedActivation{.gate = b.floats({kTokens, kDim}),
                                                    .up = b.floats({kTokens, kDim}),
                                                    .out = b.output({kTokens, kDim})});
                  },
                  3 * kTensor});
  rows.push_back({"add", "512 x 4096",
                  [] {
                    CaseBuilder b(63);
                    return b.finish(Add{.a = b.floats({kTokens, kDim}),
                                        .b = b.floats({kTokens, kDim}),
                                        .out = b.output({kTokens, kDim})});
                  },
                  3 * kTensor});
  rows.push_back({"rope", "halves 512 x 32 x 128",
                  [] {
                    CaseBuilder b(64);
                    return b.finish(Rope{.x = b.floats({kTokens, 32, 128}),
                                         .table = b.floats({kTokens, 128}, {}, 0.5f),
                                         .pairs = RopePairs::kHalves});
                  },
                  2 * kTensor});
  constexpr int64_t kVocab = 128256;
  for (const int64_t n : {1, 64, 256}) {
    const std::string shape = std::to_string(n) + " x " + std::to_string(kVocab);
    const auto bytes = static_cast<double>(4 * n * kVocab);
    rows.push_back(
        {"argmax", shape,
         [n] {
           CaseBuilder b(67);
           const std::vector<int32_t> none(static_cast<size_t>(n), -7);
           return b.finish(ArgMax{.x = b.floats({n, kVocab}, {}, 3.0f), .out = b.ints(none)});
         },
         bytes});
    rows.push_back({"top_candidates", shape,
                    [n] {
                      CaseBuilder b(66);
                      const TensorView x = b.floats({n, kVocab}, {}, 3.0f);
                      const std::vector<float> halves(static_cast<size_t>(2 * n), 0.5f);
                      return top_case(b, x, as_rows(b.values(halves), n), TopCandidates::kMost);
                    },
                    bytes});
  }
  rows.push_back({"gather", "Q8_0 512 x 4096",
                  [] {
                    CaseBuilder b(65);
                    return b.finish(GatherRows{.table = b.weight(DType::kQ8_0, 1024, kDim),
                                               .ids = b.ints(b.distinct(kTokens, 1024)),
                                               .out = b.output({kTokens, kDim})});
                  },
                  kTensor * (1 + 34.0 / 128)});
}

}  // namespace

const std::vector<CaseRow>& check_cases() {
  static const std::vector<CaseRow> kCases = [] {
    std::vector<CaseRow> rows;
    gather_cases(rows);
    norm_cases(rows);
    matmul_cases(rows);
    rope_cases(rows);
    kv_cases(rows);
    attention_check_cases(rows);
    elementwise_cases(rows);
    argmax_cases(rows);
    top_candidates_cases(rows);
    sampling_check_cases(rows);
    scale_cases(rows);
    moe_check_cases(rows);
    return rows;
  }();
  return kCases;
}

const std::vector<CaseRow>& bench_cases() {
  static const std::vector<CaseRow> kCases = [] {
    std::vector<CaseRow> rows;
    bench_products(rows);
    attention_bench_cases(rows);
    moe_bench_cases(rows);
    sampling_bench_cases(rows);
    bench_rows(rows);
    return rows;
  }();
  return kCases;
}

}  // namespace realm
