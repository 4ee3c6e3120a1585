// The scheduler over the real engine with the embedded model: many requests at once give, token for
// token, what each gives alone, with the prefix cache on and off, under forced preemption, and in
// small and large steps.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <random>

#include "backends/cpu/cpu_backend.h"
#include "engine/engine.h"
#include "formats/gguf.h"
#include "scheduler/engine_runner.h"
#include "scheduler/scheduler.h"

namespace realm {
namespace {

// Kernels are many times slower under a sanitizer; races show with fewer requests as well.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kRequests = 16;
constexpr int64_t kFewPages = 7;
#else
constexpr int kRequests = 64;
constexpr int64_t kFewPages = 12;
#endif

class Answer final : public Sink {
 public:
  bool on_token(const TokenEvent& event) override {
    tokens.push_back(event.sampled.token);
    return true;
  }
  void on_end(const Outcome& given) override {
    std::lock_guard lock(mutex_);
    outcome = given;
    ended_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return outcome.has_value(); });
  }

  std::vector<Token> tokens;  // to be read after wait()
  std::optional<Outcome> outcome;

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
};

struct Case {
  std::vector<Token> prompt;
  SamplingParams sampling;
  int64_t max_tokens;
  int64_t tenant;
};

class SchedulerEngine : public testing::Test {
 protected:
  void SetUp() override {
    backend_ = cpu::CpuBackend::create({.num_threads = 2, .isa = cpu::best_isa()}).value();
    auto file = open_gguf(std::string(REALM_SOURCE_DIR) + "/assets/realm-tiny.Q8_0.gguf");
    ASSERT_TRUE(file.ok()) << file.error().message;
    auto loaded = load_model(std::move(file).value(), *backend_);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    model_ = std::move(loaded).value();
    std::mt19937 random(1);
    const auto token = [&] {
      return static_cast<Token>(random() % static_cast<uint32_t>(model_->info().vocab_size));
    };
    std::vector<Token> common(80);
    for (Token& t : common) t = token();
    for (int i = 0; i < kRequests; ++i) {
      Case request{
          .prompt = {}, .sampling = {.temperature = 0}, .max_tokens = 3 + i % 8, .tenant = i % 3};
      if (i % 2 == 0) request.prompt.assign(common.begin(), common.begin() + 32 + i % 24);
      for (int k = 0; k < 1 + i % 17; ++k) request.prompt.push_back(token());
      if (i % 4 == 1) request.sampling = {.temperature = 0.8f, .seed = static_cast<uint64_t>(i)};
      cases_.push_back(std::move(request));
    }
    for (const Case& request : cases_) alone_.push_back(answer_alone(request));
  }

  std::unique_ptr<Engine> make_engine(int64_t cache_tokens, int64_t step, int64_t sequences) {
    return Engine::create(model_, *backend_,
                          {.context = 256,
                           .cache_tokens = cache_tokens,
                           .max_step_tokens = step,
                           .max_sequences = sequences,
                           .max_logit_rows = sequences})
        .value();
  }

  // With nothing but the engine: one token a step.
  std::vector<Token> answer_alone(const Case& request) {
    if (!engine_) engine_ = make_engine(256, 128, 1);
    Sequence sequence(engine_->pages());
    Sampler sampler(request.sampling);
    Candidates scratch;
    std::vector<std::pair<PageId, PageId>> copies;
    std::vector<Token> run = request.prompt, answer;
    while (static_cast<int64_t>(answer.size()) < request.max_tokens) {
      EXPECT_TRUE(sequence.reserve(static_cast<int64_t>(run.size()), copies).ok());
      const StepItem item{.sequence = &sequence, .tokens = run};
      const StepLogits logits = engine_->step({&item, 1}).value();
      const Sampled sampled = sampler.sample(logits.row(0), {}, scratch).value();
      sampler.accept(sampled);
      answer.push_back(sampled.token);
      run = {sampled.token};
    }
    return answer;
  }

  SchedulerStats answer_together(std::unique_ptr<Engine> engine, bool prefix_cache) {
    Scheduler scheduler(std::make_unique<EngineRunner>(std::move(engine), backend_->pool()),
                        {.prefix_cache = prefix_cache});
    std::vector<std::shared_ptr<Answer>> answers;
    for (const Case& request : cases_) {
      answers.push_back(std::make_shared<Answer>());
      const auto id = scheduler.submit({.tenant = TenantId{request.tenant},
                                        .prompt = request.prompt,
                                        .sampling = request.sampling,
                                        .max_tokens = request.max_tokens},
                                       answers.back());
      EXPECT_TRUE(id.ok()) << id.error().message;
    }
    for (size_t i = 0; i < answers.size(); ++i) {
      answers[i]->wait();
      EXPECT_EQ(answers[i]->outcome->finish, FinishReason::kLength);
      EXPECT_EQ(answers[i]->outcome->generated_tokens, cases_[i].max_tokens);
      EXPECT_EQ(answers[i]->tokens, alone_[i]) << "request " << i;
    }
    EXPECT_TRUE(scheduler.drain(std::chrono::seconds(60)));
    SchedulerStats stats = scheduler.stats();
    EXPECT_EQ(stats.pages_used, 0);
    return stats;
  }

  std::unique_ptr<cpu::CpuBackend> backend_;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Engine> engine_;
  std::vector<Case> cases_;
  std::vector<std::vector<Token>> alone_;
};

TEST_F(SchedulerEngine, ManyAtOnceAnswerAsAlone) {
  {
    SCOPED_TRACE("prefix cache");
    const SchedulerStats stats = answer_together(make_engine(64 * 256, 256, 64), true);
    EXPECT_GT(stats.prefix_hits, 0);
    EXPECT_EQ(stats.total().preemptions, 0);
  }
  {
    SCOPED_TRACE("no prefix cache, few sequences, small steps");
    const SchedulerStats stats = answer_together(make_engine(64 * 256, 24, 5), false);
    EXPECT_EQ(stats.prefix_hits, 0);
  }
  {
    SCOPED_TRACE("few pages");
    for (const bool prefix_cache : {true, false}) {
      const SchedulerStats stats =
          answer_together(make_engine(kFewPages * kPageTokens, 100, 16), prefix_cache);
      EXPECT_GT(stats.total().preemptions, 0);
    }
  }
}

}  // namespace
}  // namespace realm
