// Steps in which sequences begin with the same pages give the logits that they give where attention
// is not told so, also when a recorded step runs again with other pages in common.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backends/cuda/cuda_backend.h"
#include "engine/engine.h"
#include "formats/gguf.h"
#include "ops/backend_wrapper.h"
#include "ops/kv_types.h"

namespace realm {
namespace {

class Gpu final : public BackendWrapper {
 public:
  using BackendWrapper::BackendWrapper;
  bool reads_shared_pages_once() const override {
    return tells && inner_->reads_shared_pages_once();
  }
  Result<std::unique_ptr<PreparedProgram>> prepare(std::span<const Op> ops) override {
    for (const Op& op : ops) {
      const auto* attention = std::get_if<Attention>(&op);
      if (attention != nullptr && !attention->shared.empty()) ++ops_told;
    }
    return inner_->prepare(ops);
  }
  bool tells = true;
  int ops_told = 0;
};

std::vector<Token> tokens(size_t count, size_t from) {
  std::vector<Token> some(count);
  for (size_t i = 0; i < count; ++i) some[i] = static_cast<Token>(200 + (from + 13 * i) % 4000);
  return some;
}

constexpr size_t kSequences = 20, kPromptPages[] = {24, 9, 40}, kSteps = 5;

// Logits of steps of all requests; every step or so one of them gives way to another.
Result<std::vector<float>> answers(const std::shared_ptr<const Model>& model, Backend& backend,
                                   DType kv_type) {
  const auto engine = TRY(Engine::create(model, backend,
                                         {.context = 2048,
                                          .cache_tokens = 16384,
                                          .max_step_tokens = 2048,
                                          .max_sequences = kSequences,
                                          .max_logit_rows = kSequences,
                                          .kv_type = kv_type,
                                          .shared_bytes_min = 1}));
  std::vector<std::pair<PageId, PageId>> copies;
  std::vector<Sequence> prompts;
  const auto run = [&](Sequence& sequence, std::span<const Token> text) -> Status {
    TRY(sequence.reserve(static_cast<int64_t>(text.size()), copies));
    const StepItem item{.sequence = &sequence, .tokens = text};
    TRY(engine->step({&item, 1}));
    return {};
  };
  for (const size_t pages : kPromptPages) {
    TRY(run(prompts.emplace_back(engine->pages()), tokens(pages * kPageTokens, 7 * pages)));
  }
  const auto start = [&](size_t request, size_t turn) -> Result<Sequence> {
    Sequence sequence(engine->pages());
    const size_t prompt = (request + turn) % 4;
    if (prompt < 3) sequence.share(prompts[prompt].tokens(), prompts[prompt].pages());
    const auto own = tokens(prompt == 3 ? 50 + request : request * 9 % 70, 77 * request);
    if (!own.empty()) TRY(run(sequence, own));
    return sequence;
  };
  std::vector<Sequence> requests;
  for (size_t r = 0; r < kSequences; ++r) requests.push_back(TRY(start(r, 0)));
  std::vector<float> all;
  for (size_t step = 0; step < kSteps; ++step) {
    std::vector<std::vector<Token>> next;
    std::vector<StepItem> items;
    for (size_t r = 0; r < kSequences; ++r) {
      TRY(requests[r].reserve(1, copies));
      next.push_back(tokens(1, 31 * r + step));
    }
    for (size_t r = 0; r < kSequences; ++r) {
      items.push_back({.sequence = &requests[r], .tokens = next[r], .logits = WantLogits::kLast});
    }
    const StepLogits logits = TRY(engine->step(items));
    all.insert(all.end(), logits.values.begin(), logits.values.end());
    requests[3 * step] = TRY(start(3 * step, 1 + step));
  }
  return all;
}

TEST(GpuSharedPages, LogitsAreThoseOfPagesReadApart) {
  auto gpu = cuda::CudaBackend::create({});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  Gpu backend(std::move(gpu).value());
  auto file = open_gguf(std::string(REALM_ASSETS_DIR) + "/realm-tiny.Q8_0.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const std::shared_ptr<const Model> model = load_model(std::move(file).value(), backend).value();
  for (const KvType& kv : kv_types()) {
    if (kv.dtype == DType::kF32) continue;
    backend.tells = false;
    const auto expected = answers(model, backend, kv.dtype);
    ASSERT_TRUE(expected.ok()) << expected.error().message;
    EXPECT_EQ(backend.ops_told, 0);
    backend.tells = true;
    const auto actual = answers(model, backend, kv.dtype);
    ASSERT_TRUE(actual.ok()) << actual.error().message;
    EXPECT_EQ(backend.ops_told > 0, backend.reads_shared_pages_once());
    backend.ops_told = 0;
    ASSERT_EQ(actual->size(), expected->size());
    double difference = 0, size = 0;
    for (size_t i = 0; i < actual->size(); ++i) {
      difference += std::pow((*actual)[i] - (*expected)[i], 2.0);
      size += std::pow((*expected)[i], 2.0);
    }
    EXPECT_LT(std::sqrt(difference / size), 1.5e-2) << kv.name;
    std::printf("%s: logits differ by %.2e of their size\n", std::string(kv.name).c_str(),
                std::sqrt(difference / size));
  }
}

}  // namespace
}  // namespace realm
