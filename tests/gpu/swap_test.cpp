// Pages that went to the host's memory and came back, elsewhere, hold what they held.
#include <gtest/gtest.h>

#include "backends/cuda/cuda_backend.h"
#include "engine/engine.h"
#include "formats/gguf.h"

namespace realm {
namespace {

TEST(GpuSwap, PagesComeBackAsTheyWere) {
  auto gpu = cuda::CudaBackend::create({});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  auto file = open_gguf(std::string(REALM_ASSETS_DIR) + "/realm-tiny.Q8_0.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const std::shared_ptr<const Model> model = load_model(std::move(file).value(), **gpu).value();
  const auto engine = Engine::create(model, **gpu,
                                     {.context = 256,
                                      .cache_tokens = 1024,
                                      .max_step_tokens = 256,
                                      .max_sequences = 2,
                                      .max_logit_rows = 4,
                                      .host_pages = 16});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  std::printf("a page of %zu bytes: %.1f us either way\n",
              Engine::page_bytes(model->info(), DType::kF16), (*engine)->swap_page_seconds() * 1e6);
  std::vector<std::pair<PageId, PageId>> copies;
  const auto run = [&](Sequence& sequence, std::span<const Token> tokens) {
    EXPECT_TRUE(sequence.reserve(static_cast<int64_t>(tokens.size()), copies).ok());
    const StepItem item{.sequence = &sequence, .tokens = tokens};
    const StepLogits logits = (*engine)->step({&item, 1}).value();
    return std::vector<float>(logits.values.begin(), logits.values.end());
  };
  std::vector<Token> prompt, other;
  for (Token t = 0; t < 96; ++t) {
    prompt.push_back(100 + 7 * t);
    other.push_back(5000 - 3 * t);
  }
  const std::vector<Token> next = {42};
  Sequence first((*engine)->pages());
  run(first, prompt);
  std::vector<PageSwap> out;
  for (int32_t i = 0; i < 3; ++i) {
    out.push_back({.page = first.pages()[static_cast<size_t>(i)], .slot = 5 + 2 * i, .out = true});
  }
  ASSERT_TRUE((*engine)->swap_pages(out).ok());
  const std::vector<float> expected = run(first, next);
  // Its pages become another's, who overwrites them.
  first.truncate(0);
  Sequence second((*engine)->pages());
  run(second, other);
  Sequence third((*engine)->pages());
  ASSERT_TRUE(third.reserve(97, copies).ok());
  std::vector<PageSwap> in;
  for (int32_t i = 0; i < 3; ++i) {
    in.push_back({.page = third.pages()[static_cast<size_t>(i)], .slot = 5 + 2 * i, .out = false});
  }
  ASSERT_TRUE((*engine)->swap_pages(in).ok());
  third.append(prompt);
  EXPECT_EQ(run(third, next), expected);
}

}  // namespace
}  // namespace realm
