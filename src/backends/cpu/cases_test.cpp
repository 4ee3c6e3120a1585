// The list of cases (ops/cases.h) on every instruction set and on several threads against the plain
// reference: bit for bit, but for what tiles of bfloat16 do (panel_bf16_amx.cpp,
// attention_amx.cpp) and products by stretches on AMX (stretch_amx.h).
#include "ops/cases.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#include "ops/case_runner.h"

namespace realm::cpu {
namespace {

// The list in pieces, which run side by side.
constexpr size_t kPieces = 8;
class OpCases : public testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Piece, OpCases, testing::Range<size_t>(0, kPieces));

// Of the root mean square. Tiles split floats into two bfloat16 (2^-16 of each, or less); products
// by stretches have activations of 8 bits as the reference, but quantized in larger groups.
double tolerance_of(const Op& op, Isa isa) {
  const auto of_product = [&](const auto& product, int64_t k) {
    double tolerance = 0;
    for (int p = 0; p < product.num_parts; ++p) {
      const DType type = product.parts[p].weight.dtype;
      if (type == DType::kBF16 && has_bf16_tiles()) tolerance = std::max(tolerance, 1e-4);
      const bool stretches = type == DType::kQ8_0 || type == DType::kQ4_0 ||
                             type == DType::kIQ4_NL || type == DType::kMXFP4;
      if (stretches && k % 256 == 0) tolerance = 0.05;
    }
    return tolerance;
  };
  if (isa != Isa::kAmx) return 0;
  if (const auto* attention = std::get_if<Attention>(&op)) {
    const bool many_heads =
        attention_has_many_heads(attention->q.dim(1) / attention->k_cache.dim(1),
                                 attention->q.dim(2), attention->v_cache.dim(3));
    return many_heads && has_bf16_tiles() ? 3e-4 : 0;  // short texts' rows are the largest
  }
  if (const auto* product = std::get_if<MatMul>(&op)) {
    return of_product(*product, product->x.dim(1));
  }
  const auto* product = std::get_if<ExpertMatMul>(&op);
  return product == nullptr ? 0 : of_product(*product, product->x.dim(2));
}

TEST_P(OpCases, EveryInstructionSetGivesTheReferencesBits) {
  auto reference = CpuBackend::create({.num_threads = 1, .isa = Isa::kScalar}).value();
  std::vector<std::unique_ptr<CpuBackend>> tested;
  tested.push_back(CpuBackend::create({.num_threads = 3, .isa = Isa::kScalar}).value());
  for (const Isa isa : {Isa::kNeon, Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    if (has_isa(isa)) tested.push_back(CpuBackend::create({.num_threads = 2, .isa = isa}).value());
  }
  ASSERT_GE(check_cases().size(), kPieces);
  for (size_t i = GetParam(); i < check_cases().size(); i += kPieces) {
    const CaseRow& row = check_cases()[i];
    const std::string name = row.op + " " + row.name;
    const OpCase op_case = row.make();
    const auto expected = run_case(op_case, *reference);
    ASSERT_TRUE(expected.ok()) << name << ": " << expected.error().message;
    EXPECT_EQ(find_difference(op_case, *expected, *expected, 0).value_or(""), "") << name;
    for (const auto& backend : tested) {
      const auto actual = run_case(op_case, *backend);
      ASSERT_TRUE(actual.ok()) << name << ": " << actual.error().message;
      const double tolerance = tolerance_of(op_case.op, backend->isa());
      EXPECT_EQ(find_difference(op_case, *expected, *actual, tolerance).value_or(""), "")
          << name << " on " << backend->name();
      EXPECT_TRUE(backend->support(op_case.op).ok()) << name;
    }
  }
}

}  // namespace
}  // namespace realm::cpu
