// Products grouped by expert against one product for each token and slot, bit for bit: so that an
// expert's share of a batch changes no token's result, and MatMul's own tests cover the arithmetic.
#include <gtest/gtest.h>

#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "ops/case_runner.h"

namespace realm::cpu {
namespace {

TensorView row_view(const TensorView& view, int64_t token, int64_t slot) {
  return make_view(view.data + token * view.stride[0] + slot * view.stride[1], DType::kF32,
                   {1, view.dim(2)});
}

void expect_products_of_rows(const ExpertMatMul& op, CpuBackend& backend, const std::string& name) {
  for (int64_t t = 0; t < op.x.dim(0); ++t) {
    for (int64_t j = 0; j < op.parts[0].out.dim(1); ++j) {
      const int64_t expert = op.ids.empty() ? j : op.ids.as<int32_t>()[t * op.ids.dim(1) + j];
      for (int p = 0; p < op.num_parts; ++p) {
        const ExpertMatMul::Part& part = op.parts[p];
        std::vector<float> out(static_cast<size_t>(part.out.dim(2)));
        MatMul product{.x = row_view(op.x, t, op.x.dim(1) == 1 ? 0 : j), .parts = {}};
        product.parts[0].weight =
            make_view(part.weight.data + expert * part.weight.stride[0], part.weight.dtype,
                      {part.weight.dim(1), part.weight.dim(2)});
        if (!part.bias.empty()) {
          product.parts[0].bias = make_view(part.bias.data + expert * part.bias.stride[0],
                                            DType::kF32, {part.bias.dim(1)});
        }
        product.parts[0].out = make_view(out.data(), DType::kF32, {1, part.out.dim(2)});
        const Op single = product;
        ASSERT_TRUE(backend.run({&single, 1}).ok());
        ASSERT_EQ(std::memcmp(out.data(), row_view(part.out, t, j).data, out.size() * 4), 0)
            << name << ": token " << t << ", slot " << j << ", part " << p;
      }
    }
  }
}

TEST(ExpertMatMul, GivesEachTokensOwnProduct) {
  auto backend = CpuBackend::create({.num_threads = 2}).value();
  int tested = 0;
  for (const CaseRow& row : check_cases()) {
    if (row.op != "expert_matmul") continue;
    const OpCase op_case = row.make();
    PlacedCase placed = PlacedCase::place(op_case, *backend).value();
    ASSERT_TRUE(placed.run().ok()) << row.name;
    expect_products_of_rows(std::get<ExpertMatMul>(placed.op()), *backend, row.name);
    ++tested;
  }
  EXPECT_GT(tested, 20);
}

}  // namespace
}  // namespace realm::cpu
