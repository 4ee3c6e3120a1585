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
constexpr int64_t kFewPages = 4;
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

// The host's backend as one whose memory is elsewhere: engines pad their steps for it, and samplers
// go by summaries of rows.
class Remote final : public Backend {
 public:
  explicit Remote(Backend& inner) : inner_(inner) {}
  std::string name() const override { return inner_.name(); }
  Result<Buffer> allocate(size_t size_bytes) override { return inner_.allocate(size_bytes); }
  Status upload(std::byte* to, std::span<const std::byte> from) override {
    return inner_.upload(to, from);
  }
  Status download(std::span<std::byte> to, const std::byte* from) override {
    bytes_downloaded += to.size();
    return inner_.download(to, from);
  }
  Result<TensorView> import_weight(const TensorView& host) override {
    return inner_.import_weight(host);
  }
  Result<std::string> support(const Op& op) const override { return inner_.support(op); }
  Status run(std::span<const Op> ops) override { return inner_.run(ops); }
  Result<std::unique_ptr<PreparedProgram>> prepare(std::span<const Op> ops) override {
    ++programs;
    return inner_.prepare(ops);
  }

  size_t bytes_downloaded = 0;
  int programs = 0;

 private:
  Backend& inner_;
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
      if (i % 4 == 2) request.sampling.repeat_penalty = 1.3f;
      if (i % 8 == 3) {
        request.sampling = {.temperature = 0.9f,
                            .top_k = 50,
                            .top_p = 0.9f,
                            .frequency_penalty = 0.3f,
                            .seed = static_cast<uint64_t>(i)};
      }
      cases_.push_back(std::move(request));
    }
    for (const Case& request : cases_) alone_.push_back(answer_alone(request));
  }

  std::unique_ptr<Engine> make_engine(int64_t cache_tokens, int64_t step, int64_t sequences) {
    return make_engine(*backend_, cache_tokens, step, sequences);
  }
  std::unique_ptr<Engine> make_engine(Backend& backend, int64_t cache_tokens, int64_t step,
                                      int64_t sequences) {
    return Engine::create(model_, backend,
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
    for (const Token token : request.prompt) sampler.accept_prompt(token);
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

TEST_F(SchedulerEngine, PagesThatWentToTheHostComeBack) {
  Remote remote(*backend_);
  for (Backend* backend : {static_cast<Backend*>(backend_.get()), static_cast<Backend*>(&remote)}) {
    auto engine = Engine::create(model_, *backend,
                                 {.context = 256,
                                  .cache_tokens = kFewPages * kPageTokens,
                                  .max_step_tokens = 100,
                                  .max_sequences = 16,
                                  .max_logit_rows = 16,
                                  .host_pages = 64});
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    EXPECT_GT((*engine)->swap_page_seconds(), 0);
    const SchedulerStats stats = answer_together(std::move(engine).value(), true);
    EXPECT_GT(stats.pages_stored, 0);
    EXPECT_GT(stats.pages_brought_back, 0);
  }
}

TEST_F(SchedulerEngine, AnswersAreTheSameWhereRowsStayOnTheDevice) {
  Remote remote(*backend_);
  for (const auto& [step, sequences] : {std::pair{256, 64}, {100, 7}, {33, 33}, {3, 2}}) {
    SCOPED_TRACE(testing::Message() << step << " tokens a step, " << sequences << " sequences");
    remote.bytes_downloaded = 0;
    answer_together(make_engine(remote, 64 * 256, step, sequences), true);
    int64_t tokens = 0;
    for (const Case& request : cases_) tokens += request.max_tokens;
    // A row of logits is larger than what came down for a token.
    const auto row_bytes = static_cast<size_t>(model_->info().vocab_size) * sizeof(float);
    EXPECT_LT(remote.bytes_downloaded, static_cast<size_t>(tokens) * row_bytes);
  }
}

TEST_F(SchedulerEngine, StepsOfADeviceAreOfFewShapes) {
  Remote remote(*backend_);
  const auto engine = make_engine(remote, 64 * 256, 256, 64);
  std::vector<Sequence> sequences;
  for (int i = 0; i < 64; ++i) sequences.emplace_back(engine->pages());
  const std::vector<Token> tokens = {5, 7};
  std::vector<std::pair<PageId, PageId>> copies;
  const auto step = [&](size_t count, size_t longest) {
    std::vector<StepItem> items;
    for (size_t i = 0; i < count; ++i) {
      const size_t length = i == 0 ? longest : 1;
      ASSERT_TRUE(sequences[i].reserve(static_cast<int64_t>(length), copies).ok());
      items.push_back({.sequence = &sequences[i], .tokens = std::span(tokens).first(length)});
    }
    const auto summaries = engine->step_summaries(items, std::vector<DeviceDraw>(count));
    ASSERT_TRUE(summaries.ok()) << summaries.error().message;
    EXPECT_EQ(summaries->rows, static_cast<int64_t>(count));
  };
  for (size_t count = 33; count <= 48; ++count) step(count, 1);
  EXPECT_EQ(remote.programs, 1);
  for (size_t count = 33; count <= 47; ++count) step(count, 2);
  EXPECT_EQ(remote.programs, 2);
}

}  // namespace
}  // namespace realm
