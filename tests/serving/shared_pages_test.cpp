// An engine that puts sequences with common pages side by side, and tells the ops, gives every
// caller's rows in the caller's order, the bits that an engine gives that does not.
#include <gtest/gtest.h>

#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#include "engine/engine.h"
#include "formats/gguf.h"
#include "ops/backend_wrapper.h"

namespace realm {
namespace {

// The host's backend as one that wants to know what is shared. It looks at what it is told.
class Sharing final : public BackendWrapper {
 public:
  Sharing(std::unique_ptr<Backend> inner, bool is_host)
      : BackendWrapper(std::move(inner)), is_host_(is_host) {}
  bool reads_shared_pages_once() const override { return true; }
  bool is_host() const override { return is_host_; }
  Status run(std::span<const Op> ops) override {
    for (const Op& op : ops) {
      if (const auto* attention = std::get_if<Attention>(&op)) look(*attention);
    }
    return inner_->run(ops);
  }
  int steps_told = 0;
  int64_t most_saved = 0;

 private:
  void look(const Attention& op) {
    if (op.shared.empty()) return;
    ++steps_told;
    const auto* rows = op.shared.as<const int32_t>();
    const auto* table = op.page_table.as<const int32_t>();
    const auto* positions = op.positions.as<const int32_t>();
    int64_t saved = 0;
    for (int64_t s = 0; s < op.shared.dim(0); ++s) {
      const int64_t first = rows[3 * s], end = rows[3 * s + 1], pages = rows[3 * s + 2];
      if (pages == 0) continue;
      ASSERT_TRUE(first <= s && s < end && end <= op.shared.dim(0));
      const int32_t *own = table + s * op.page_table.dim(1),
                    *of_first = table + first * op.page_table.dim(1);
      EXPECT_TRUE(std::equal(own, own + pages, of_first));
      EXPECT_LE(pages * kPageTokens, positions[s]);
      saved += s > first ? pages : 0;
    }
    most_saved = std::max(most_saved, saved);
  }

  const bool is_host_;
};

std::unique_ptr<Backend> cpu_backend() {
  return cpu::CpuBackend::create({.num_threads = 2, .isa = cpu::best_isa()}).value();
}

constexpr size_t kSequences = 24, kPromptPages = 14, kSteps = 3;

// Logits of every step, of each request in turn.
Result<std::vector<float>> answers(Backend& backend) {
  const std::shared_ptr<const TensorDirectory> file =
      TRY(open_gguf(std::string(REALM_SOURCE_DIR) + "/assets/realm-tiny.Q8_0.gguf"));
  const std::shared_ptr<const Model> model = TRY(load_model(file, backend));
  const auto engine = TRY(Engine::create(model, backend,
                                         {.context = 1024,
                                          .cache_tokens = 8192,
                                          .max_step_tokens = 1024,
                                          .max_sequences = kSequences,
                                          .max_logit_rows = kSequences,
                                          .shared_bytes_min = 1}));
  std::vector<std::pair<PageId, PageId>> copies;
  std::vector<float> all;
  const auto tokens = [](size_t count, size_t from) {
    std::vector<Token> some(count);
    for (size_t i = 0; i < count; ++i) some[i] = static_cast<Token>(200 + (from + 13 * i) % 4000);
    return some;
  };
  // Two prompts in the cache; every third request has one of its own.
  std::vector<Sequence> prompts, requests;
  for (size_t p = 0; p < 2; ++p) {
    Sequence& prompt = prompts.emplace_back(engine->pages());
    const auto text = tokens((kPromptPages + 12 * p) * kPageTokens, 1000 * p);
    TRY(prompt.reserve(static_cast<int64_t>(text.size()), copies));
    const StepItem item{.sequence = &prompt, .tokens = text};
    TRY(engine->step({&item, 1}));
  }
  for (size_t r = 0; r < kSequences; ++r) {
    Sequence& request = requests.emplace_back(engine->pages());
    if (r % 3 < 2) request.share(prompts[r % 3].tokens(), prompts[r % 3].pages());
    // Some begin right after the prompt.
    const auto own = tokens(r % 3 == 2 ? 40 + r : r * 5 % 40, 77 * r);
    if (own.empty()) continue;
    TRY(request.reserve(static_cast<int64_t>(own.size()), copies));
    const StepItem item{.sequence = &request, .tokens = own};
    TRY(engine->step({&item, 1}));
  }
  for (size_t step = 0; step < kSteps; ++step) {
    std::vector<std::vector<Token>> next;
    std::vector<StepItem> items;
    for (size_t r = 0; r < kSequences; ++r) next.push_back(tokens(1, 31 * r + step));
    for (size_t r = 0; r < kSequences; ++r) {
      TRY(requests[r].reserve(1, copies));
      const bool wanted = r != 4;
      items.push_back({.sequence = &requests[r],
                       .tokens = next[r],
                       .logits = wanted ? WantLogits::kLast : WantLogits::kNone});
    }
    const StepLogits logits = TRY(engine->step(items));
    EXPECT_EQ(logits.rows, static_cast<int64_t>(kSequences) - 1);
    all.insert(all.end(), logits.values.begin(), logits.values.end());
  }
  return all;
}

TEST(SharedPagesEngine, ResultsAreTheSameBitsInTheSameOrder) {
  const auto plain = cpu_backend();
  const auto expected = answers(*plain);
  ASSERT_TRUE(expected.ok()) << expected.error().message;
  for (const bool is_host : {true, false}) {
    Sharing sharing(cpu_backend(), is_host);
    const auto actual = answers(sharing);
    ASSERT_TRUE(actual.ok()) << actual.error().message;
    EXPECT_GT(sharing.steps_told, 0);
    // Eight requests have the first prompt, eight the second.
    EXPECT_EQ(sharing.most_saved, static_cast<int64_t>(7 * kPromptPages + 7 * (kPromptPages + 12)));
    EXPECT_TRUE(*actual == *expected) << is_host;
  }
}

}  // namespace
}  // namespace realm
