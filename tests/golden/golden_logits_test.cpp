// Logits of small models of real architectures against those that Hugging Face transformers wrote
// (REALM_SHARED_DIR/golden), and the promise that a token's logits do not depend on how the prompt
// was cut, on the number of threads, on the instruction set, or on what else is in the batch.
#include <gtest/gtest.h>

#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#include "engine/engine.h"
#include "formats/quant/f8_e4m3.h"
#include "golden/golden_family.h"

namespace realm {
namespace {

struct Run {
  int chunk = 1000;
  int threads = 1;
  cpu::Isa isa = cpu::best_isa();
  bool with_neighbours = false;
  DType kv_type = DType::kF32;
};

std::vector<float> logits_of(const GoldenFamily& golden, const Run& run) {
  auto backend = cpu::CpuBackend::create({.num_threads = run.threads, .isa = run.isa});
  EXPECT_TRUE(backend.ok());
  auto loaded = load_model(golden.file, **backend);
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  std::shared_ptr<const Model> model = std::move(loaded).value();
  auto engine = Engine::create(model, **backend,
                               {.context = 128,
                                .cache_tokens = 512,
                                .max_step_tokens = 200,
                                .max_sequences = 3,
                                .max_logit_rows = 200,
                                .kv_type = run.kv_type});
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  Sequence sequence((*engine)->pages()), before((*engine)->pages()), after((*engine)->pages());
  std::vector<std::pair<PageId, PageId>> copies;
  std::vector<float> result;
  for (size_t i = 0; i < golden.tokens.size(); i += static_cast<size_t>(run.chunk)) {
    const size_t n = std::min(golden.tokens.size() - i, static_cast<size_t>(run.chunk));
    const std::span<const Token> piece(golden.tokens.data() + i, n);
    const std::vector<Token> other(piece.rbegin(), piece.rend());
    std::vector<StepItem> items;
    if (run.with_neighbours) {
      EXPECT_TRUE(before.reserve(static_cast<int64_t>(n), copies).ok());
      items.push_back({.sequence = &before, .tokens = other, .logits = WantLogits::kNone});
    }
    EXPECT_TRUE(sequence.reserve(static_cast<int64_t>(n), copies).ok());
    items.push_back({.sequence = &sequence, .tokens = piece, .logits = WantLogits::kAll});
    if (run.with_neighbours && i == 0) {
      EXPECT_TRUE(after.reserve(1, copies).ok());
      items.push_back({.sequence = &after, .tokens = piece.first(1), .logits = WantLogits::kNone});
    }
    auto logits = (*engine)->step(items);
    EXPECT_TRUE(logits.ok()) << logits.error().message;
    result.insert(result.end(), logits->values.begin(), logits->values.end());
  }
  return result;
}

class GoldenLogits : public testing::TestWithParam<const char*> {};

TEST_P(GoldenLogits, MatchTransformers) {
  const auto golden = load_golden_family(golden_root() / GetParam());
  if (!golden) GTEST_SKIP() << "no reference data in " << REALM_SHARED_DIR;
  const std::vector<float> logits = logits_of(*golden, {});
  const std::vector<float> expected = golden->reference_logits();
  ASSERT_EQ(logits.size(), expected.size());
  const size_t vocab = logits.size() / golden->tokens.size();
  for (size_t t = 0; t < golden->tokens.size(); ++t) {
    const float* ours = logits.data() + t * vocab;
    const float* theirs = expected.data() + t * vocab;
    EXPECT_EQ(std::max_element(ours, ours + vocab) - ours,
              std::max_element(theirs, theirs + vocab) - theirs)
        << "token " << t;
  }
  const double error = relative_error(logits, expected);
  EXPECT_LT(error, 1e-3);
  RecordProperty("relative_error", std::to_string(error));
}

TEST_P(GoldenLogits, SameBitsHoweverTheyAreComputed) {
  const auto golden = load_golden_family(golden_root() / GetParam());
  if (!golden) GTEST_SKIP() << "no reference data in " << REALM_SHARED_DIR;
  for (DType kv : {DType::kF32, DType::kF16, DType::kBF16, kF8E4M3}) {
    const std::vector<float> expected = logits_of(*golden, {.kv_type = kv});
    EXPECT_EQ(logits_of(*golden, {.chunk = 1, .kv_type = kv}), expected);
    EXPECT_EQ(logits_of(*golden, {.chunk = 7, .threads = 2, .kv_type = kv}), expected);
    EXPECT_EQ(logits_of(*golden, {.threads = 2, .kv_type = kv}), expected);
    EXPECT_EQ(logits_of(*golden, {.chunk = 3, .with_neighbours = true, .kv_type = kv}), expected);
    for (cpu::Isa isa :
         {cpu::Isa::kScalar, cpu::Isa::kNeon, cpu::Isa::kAvx2, cpu::Isa::kAvx512, cpu::Isa::kAmx}) {
      if (!cpu::has_isa(isa)) continue;
      EXPECT_EQ(logits_of(*golden, {.chunk = 20, .isa = isa, .kv_type = kv}), expected)
          << cpu::isa_name(isa);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenLogits,
                         testing::Values("llama-spm", "llama3-rope", "mixtral", "qwen2", "qwen2moe",
                                         "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi2",
                                         "phi3", "gpt-oss", "deepseek2", "deepseek3", "olmo2",
                                         "olmo3", "olmoe", "glm4", "glm4moe", "granite",
                                         "granitemoe", "cohere2", "starcoder2", "stablelm",
                                         "ernie4_5", "ernie4_5-moe", "exaone4", "seed-oss", "arcee",
                                         "hunyuan-dense", "minimax-m2", "nemotron", "gptneox",
                                         "jais2"),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace realm
