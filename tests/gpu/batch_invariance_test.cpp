// With CudaOptions::batch_invariant a request's logits are the same bits alone and among 63 others,
// its prompt cut differently and every step shared.
#include <gtest/gtest.h>

#include <deque>
#include <filesystem>
#include <random>

#include "backends/cuda/cuda_backend.h"
#include "engine/engine.h"
#include "formats/gguf.h"

namespace realm {
namespace {

constexpr size_t kOthers = 63, kPromptTokens = 70, kAnswerTokens = 12;

std::vector<Token> random_tokens(size_t count, int64_t vocab, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Token> tokens(count);
  for (Token& t : tokens) t = static_cast<Token>(random() % static_cast<uint64_t>(vocab));
  return tokens;
}

class Requests {
 public:
  Requests(const Model& model, Engine& engine) : model_(model), engine_(engine) {}

  // A request that steps come to one after the other.
  size_t add(size_t tokens, uint64_t seed) {
    sequences_.emplace_back(engine_.pages());
    tokens_.push_back(random_tokens(tokens, model_.info().vocab_size, seed));
    done_.push_back(0);
    return sequences_.size() - 1;
  }
  // counts[i] further tokens of request i. The last logits of request 0, where it has any.
  Result<std::vector<float>> step(const std::vector<size_t>& counts) {
    std::vector<StepItem> items;
    std::vector<std::pair<PageId, PageId>> copies;
    for (size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] == 0) continue;
      const std::span<const Token> piece = std::span(tokens_[i]).subspan(done_[i], counts[i]);
      done_[i] += counts[i];
      TRY(sequences_[i].reserve(static_cast<int64_t>(piece.size()), copies));
      items.push_back({.sequence = &sequences_[i], .tokens = piece, .logits = WantLogits::kLast});
    }
    const StepLogits logits = TRY(engine_.step(items));
    if (counts[0] == 0) return std::vector<float>{};
    return std::vector<float>(logits.row(0).begin(), logits.row(0).end());
  }

 private:
  const Model& model_;
  Engine& engine_;
  std::deque<Sequence> sequences_;
  std::vector<std::vector<Token>> tokens_;
  std::vector<size_t> done_;
};

// The logits after the prompt and after each token of the answer, the same tokens every time.
Result<std::vector<std::vector<float>>> run_request(const std::shared_ptr<const Model>& model,
                                                    Backend& backend, size_t others) {
  const auto engine = TRY(Engine::create(model, backend,
                                         {.context = 256,
                                          .cache_tokens = 64 * 256,
                                          .max_step_tokens = 2048,
                                          .max_sequences = 64,
                                          .max_logit_rows = 64}));
  Requests requests(*model, *engine);
  requests.add(kPromptTokens + kAnswerTokens, 1);
  for (size_t i = 0; i < others; ++i) requests.add(150, 2 + i);
  std::vector<std::vector<float>> all;
  std::vector<size_t> counts(1 + others, 1);
  if (others > 0) {
    // The others' prompts, of different lengths, beside the first tokens of this one.
    for (size_t i = 0; i < others; ++i) counts[1 + i] = 3 + i % 40;
    counts[0] = 9;
    TRY(requests.step(counts));
    std::fill(counts.begin(), counts.end(), 1);
    counts[0] = kPromptTokens - 9;
  } else {
    counts[0] = kPromptTokens;
  }
  all.push_back(TRY(requests.step(counts)));
  std::fill(counts.begin(), counts.end(), 1);
  for (size_t i = 0; i < kAnswerTokens; ++i) {
    // Now and then another's long prompt comes along.
    if (others > 0 && i == 5) counts[1] = 60;
    all.push_back(TRY(requests.step(counts)));
    if (others > 0) counts[1] = 1;
  }
  return all;
}

TEST(GpuBatchInvariance, ARequestIsTheSameAloneAndAmongOthers) {
  auto gpu = cuda::CudaBackend::create({.batch_invariant = true});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  const std::filesystem::path folder = REALM_ASSETS_DIR;
  auto file = open_gguf(folder / "realm-tiny.Q8_0.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const std::shared_ptr<const TensorDirectory> directory = std::move(file).value();
  auto loaded = load_model(directory, **gpu);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const std::shared_ptr<const Model> model = std::move(loaded).value();
  const auto alone = run_request(model, **gpu, 0);
  ASSERT_TRUE(alone.ok()) << alone.error().message;
  for (const size_t others : {size_t{1}, size_t{7}, kOthers}) {
    const auto among = run_request(model, **gpu, others);
    ASSERT_TRUE(among.ok()) << among.error().message;
    ASSERT_EQ(among->size(), alone->size());
    for (size_t i = 0; i < alone->size(); ++i) {
      EXPECT_TRUE((*among)[i] == (*alone)[i]) << others << " others, step " << i;
    }
  }
}

}  // namespace
}  // namespace realm
