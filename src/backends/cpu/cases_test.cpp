// The list of cases (ops/cases.h) on every instruction set and on several threads against the plain
// reference, bit for bit; AMX quantizes the activations of Q8_0 otherwise (q8_stretch_amx.h), which
// is held to a bound.
#include "ops/cases.h"

#include <gtest/gtest.h>

#include "backends/cpu/cpu_backend.h"
#include "ops/case_runner.h"

namespace realm::cpu {
namespace {

// The list in pieces, which run side by side.
constexpr size_t kPieces = 8;
class OpCases : public testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Piece, OpCases, testing::Range<size_t>(0, kPieces));

bool by_stretches(const Op& op) {
  const auto any_part = [](const auto& matmul, int64_t k) {
    for (int p = 0; p < matmul.num_parts; ++p) {
      if (matmul.parts[p].weight.dtype == DType::kQ8_0 && k % 256 == 0) return true;
    }
    return false;
  };
  if (const auto* matmul = std::get_if<MatMul>(&op)) return any_part(*matmul, matmul->x.dim(1));
  const auto* matmul = std::get_if<ExpertMatMul>(&op);
  return matmul != nullptr && any_part(*matmul, matmul->x.dim(2));
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
      constexpr double kBound = 0.05;  // of the root mean square, for the largest of differences
      const bool bounded = backend->isa() == Isa::kAmx && by_stretches(op_case.op);
      EXPECT_EQ(find_difference(op_case, *expected, *actual, bounded ? kBound : 0).value_or(""), "")
          << name << " on " << backend->name();
      EXPECT_TRUE(backend->support(op_case.op).ok()) << name;
    }
  }
}

}  // namespace
}  // namespace realm::cpu
