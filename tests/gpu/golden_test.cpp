// Whole models on the GPU against the CPU: every golden family that this program can load.
#include <gtest/gtest.h>

#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/split/placement.h"
#include "backends/split/split_backend.h"
#include "engine/engine.h"
#include "formats/quant/f8_e4m3.h"
#include "golden/golden_family.h"
#include "ops/kv_types.h"

namespace realm {
namespace {

// Logits of every token, in steps of `chunk`.
Result<std::vector<float>> logits_on(Backend& backend, std::shared_ptr<const TensorDirectory> file,
                                     const std::vector<Token>& tokens, size_t chunk,
                                     DType kv_type) {
  const std::shared_ptr<const Model> model = TRY(load_model(std::move(file), backend));
  const auto engine = TRY(Engine::create(model, backend,
                                         {.context = 256,
                                          .max_step_tokens = 256,
                                          .max_sequences = 1,
                                          .max_logit_rows = 256,
                                          .kv_type = kv_type}));
  Sequence sequence(engine->pages());
  std::vector<std::pair<PageId, PageId>> copies;
  std::vector<float> all;
  for (size_t i = 0; i < tokens.size(); i += chunk) {
    const std::span<const Token> piece(tokens.data() + i, std::min(chunk, tokens.size() - i));
    TRY(sequence.reserve(static_cast<int64_t>(piece.size()), copies));
    const StepItem item{.sequence = &sequence, .tokens = piece, .logits = WantLogits::kAll};
    const StepLogits logits = TRY(engine->step({&item, 1}));
    all.insert(all.end(), logits.values.begin(), logits.values.end());
  }
  return all;
}

// The golden models' weights are F16, which products here round to bfloat16, as their inputs: of
// dense models 1.24e-2 at most was seen (nemotron, whose activation squares).
constexpr double kTolerance = 0.015;

bool has_router(const std::string& family) {
  return family.find("moe") != std::string::npos || family == "minimax-m2" || family == "gpt-oss" ||
         family == "mixtral" || family.find("deepseek") == 0;
}

// Of all logits; where a router chooses among experts, of the middle token: a rounding can turn the
// choice between two whose scores all but agree, and that token alone is far off then.
double error_of(const GoldenFamily& family, const std::vector<float>& actual,
                const std::vector<float>& expected) {
  if (!has_router(family.name)) return relative_error(actual, expected);
  const size_t row = expected.size() / family.tokens.size();
  std::vector<double> errors;
  for (size_t at = 0; at < expected.size(); at += row) {
    errors.push_back(
        relative_error(std::span(actual).subspan(at, row), std::span(expected).subspan(at, row)));
  }
  const auto middle = errors.begin() + static_cast<int64_t>(errors.size() / 2);
  std::nth_element(errors.begin(), middle, errors.end());
  return *middle;
}

// Elements that the products' rounding puts on the other side of a code's bound differ by a step.
double cache_tolerance_of(DType type) {
  return type == kF8E4M3 ? 6 : 2;
}

TEST(GpuGolden, FamiliesAgreeWithTheCpu) {
  auto gpu = cuda::CudaBackend::create({});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  const std::vector<GoldenFamily> golden = golden_families();
  if (golden.empty()) GTEST_SKIP() << "no reference data in " << REALM_SHARED_DIR;
  auto cpu = cpu::CpuBackend::create({}).value();
  int compared = 0;
  for (const GoldenFamily& family : golden) {
    const auto& [folder, name, tokens, file] = family;
    const auto expected = logits_on(*cpu, file, tokens, tokens.size(), DType::kF32);
    if (!expected.ok()) continue;  // a family that the program does not have
    ++compared;
    for (const size_t chunk : {tokens.size(), size_t{1}, size_t{5}}) {
      const auto actual = logits_on(**gpu, file, tokens, chunk, DType::kF32);
      ASSERT_TRUE(actual.ok()) << name << ": " << actual.error().message;
      ASSERT_EQ(actual->size(), expected->size()) << name;
      const double error = error_of(family, *actual, *expected);
      EXPECT_LT(error, kTolerance) << name << " in steps of " << chunk;
      std::printf("%-20s steps of %3zu: relative error %.2e\n", name.c_str(), chunk, error);
    }
    for (const KvType& kv : kv_types()) {
      // What the type itself costs is the CPU's concern; here the same cache is held against it.
      const auto same = logits_on(*cpu, file, tokens, tokens.size(), kv.dtype);
      if (kv.dtype == DType::kF32 || !same.ok()) continue;  // heads that are no whole blocks
      for (const size_t chunk : {tokens.size(), size_t{1}}) {
        const auto actual = logits_on(**gpu, file, tokens, chunk, kv.dtype);
        ASSERT_TRUE(actual.ok()) << name << ": " << actual.error().message;
        const double error = error_of(family, *actual, *same);
        EXPECT_LT(error, cache_tolerance_of(kv.dtype) * kTolerance)
            << name << " with a cache of " << kv.name << " in steps of " << chunk;
        std::printf("%-20s %-5s steps of %3zu: relative error %.2e\n", name.c_str(),
                    std::string(kv.name).c_str(), chunk, error);
      }
    }
  }
  EXPECT_GT(compared, 0);
}

// The first half of the layers on the CPU.
TEST(GpuGolden, SplitFamiliesAgreeWithTheCpu) {
  if (const auto info = cuda::probe_device(0); !info.ok()) GTEST_SKIP() << info.error().message;
  const std::vector<GoldenFamily> golden = golden_families();
  if (golden.empty()) GTEST_SKIP() << "no reference data in " << REALM_SHARED_DIR;
  auto cpu = cpu::CpuBackend::create({}).value();
  int compared = 0;
  for (const GoldenFamily& family : golden) {
    const auto& [folder, name, tokens, file] = family;
    auto shown = load_model(file, *cpu);
    if (!shown.ok() || (*shown)->info().is_encoder) continue;
    const auto num_layers = static_cast<int64_t>((*shown)->info().kv_layers.size());
    if (num_layers < 2) continue;
    const auto expected = logits_on(*cpu, file, tokens, tokens.size(), DType::kF32);
    ASSERT_TRUE(expected.ok()) << name << ": " << expected.error().message;
    ++compared;
    split::SplitBackend both(cpu::CpuBackend::create({}).value(),
                             cuda::CudaBackend::create({}).value(),
                             {.host_layers = num_layers / 2,
                              .num_layers = num_layers,
                              .place_of = split::places_of(file, num_layers / 2)});
    for (const size_t chunk : {tokens.size(), size_t{1}, size_t{5}}) {
      const auto actual = logits_on(both, file, tokens, chunk, DType::kF32);
      ASSERT_TRUE(actual.ok()) << name << ": " << actual.error().message;
      EXPECT_LT(error_of(family, *actual, *expected), kTolerance)
          << name << " in steps of " << chunk;
    }
    EXPECT_EQ(both.crossings().to_host, 0) << name;
  }
  EXPECT_GT(compared, 0);
}

}  // namespace
}  // namespace realm
