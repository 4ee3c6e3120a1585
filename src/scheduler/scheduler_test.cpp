// The thread around the planner: clients on many threads, faults, draining, stopping.
#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "scheduler/fake_runner.h"

namespace realm {
namespace {

class Recorder final : public Sink {
 public:
  explicit Recorder(int64_t stop_after = -1) : stop_after_(stop_after) {}

  void on_start(const StartEvent& event) override {
    EXPECT_FALSE(started_);
    EXPECT_TRUE(tokens.empty());
    started_ = true;
    cached_ = event.cached_tokens;
  }
  bool on_token(const TokenEvent& event) override {
    EXPECT_TRUE(started_);
    EXPECT_EQ(event.index, static_cast<int64_t>(tokens.size()));
    std::lock_guard lock(mutex_);
    tokens.push_back(event.sampled.token);
    changed_.notify_all();
    return static_cast<int64_t>(tokens.size()) != stop_after_;
  }
  void on_end(const Outcome& outcome) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(outcome_.has_value()) << "ended twice";
    outcome_ = outcome;
    EXPECT_EQ(outcome.cached_tokens, started_ ? cached_ : 0);
    changed_.notify_all();
  }
  Outcome wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return outcome_.has_value(); });
    return *outcome_;
  }
  void wait_for_tokens(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return tokens.size() >= count || outcome_.has_value(); });
  }

  std::vector<Token> tokens;

 private:
  const int64_t stop_after_;
  bool started_ = false;
  int64_t cached_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Outcome> outcome_;
};

Request request(std::vector<Token> prompt, int64_t max_tokens, int64_t tenant = 0) {
  return {.tenant = TenantId{tenant}, .prompt = std::move(prompt), .max_tokens = max_tokens};
}

// Over a runner that leaves the host no time while a step runs, and one that does.
class SchedulerTest : public testing::TestWithParam<bool> {
 protected:
  static FakeOptions fake() { return {.runs_ahead = GetParam()}; }
};

INSTANTIATE_TEST_SUITE_P(Runners, SchedulerTest, testing::Bool(), [](const auto& runner) {
  return runner.param ? "RunningAhead" : "Waiting";
});

TEST_P(SchedulerTest, AnswersManyClientsAtOnceAsEachAlone) {
  FakeOptions options = fake();
  options.num_pages = 200;  // too few for all: some are preempted
  const FakeRunner reference(options);
  std::atomic<int> flushes{0};
  Scheduler scheduler(std::make_unique<FakeRunner>(options),
                      {.on_step_end = [&] { flushes.fetch_add(1); }});
  std::vector<std::thread> clients;
  for (int64_t c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 20; ++i) {
        std::vector<Token> prompt(static_cast<size_t>(20 + i * 7), static_cast<Token>(c % 3));
        prompt.push_back(static_cast<Token>(i));
        const auto sink = std::make_shared<Recorder>();
        Request asked = request(prompt, 30, c);
        asked.sampling.seed = static_cast<uint64_t>(i);
        const Sampler sampler(asked.sampling);
        ASSERT_TRUE(scheduler.submit(std::move(asked), sink).ok());
        const Outcome outcome = sink->wait();
        EXPECT_EQ(outcome.finish, FinishReason::kLength);
        ASSERT_EQ(sink->tokens.size(), 30u);
        for (const Token token : sink->tokens) {
          ASSERT_EQ(token, reference.next_token(prompt, sampler));
          prompt.push_back(token);
        }
        EXPECT_GE(scheduler.stats().steps, 1);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(scheduler.drain(std::chrono::seconds(30)));
  const SchedulerStats stats = scheduler.stats();
  EXPECT_EQ(stats.running + stats.waiting, 0);
  EXPECT_EQ(stats.pages_used, 0);
  EXPECT_EQ(stats.total().generated_tokens, 8 * 20 * 30);
  EXPECT_EQ(stats.total().finished[static_cast<size_t>(FinishReason::kLength)], 8 * 20);
  EXPECT_GT(flushes.load(), 0);
}

TEST_P(SchedulerTest, RandomCancelsEndEveryRequestOnce) {
  FakeOptions options = fake();
  options.num_pages = 60;
  Scheduler scheduler(std::make_unique<FakeRunner>(options), {});
  std::vector<std::thread> clients;
  std::atomic<int> ended{0};
  for (int64_t c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 50; ++i) {
        const auto sink = std::make_shared<Recorder>();
        const auto id = scheduler.submit(
            request(std::vector<Token>(static_cast<size_t>(1 + i), 1), 200, c), sink);
        ASSERT_TRUE(id.ok());
        if (i % 3 == 0) sink->wait_for_tokens(static_cast<size_t>(i % 7));
        if (i % 5 == 0) scheduler.pause(*id, true);
        scheduler.cancel(*id, i % 2 == 0 ? FinishReason::kCancelled : FinishReason::kStop);
        const Outcome outcome = sink->wait();
        EXPECT_EQ(outcome.generated_tokens, static_cast<int64_t>(sink->tokens.size()));
        ended.fetch_add(1);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(ended.load(), 200);
  EXPECT_EQ(scheduler.stats().pages_used, 0);
}

TEST_P(SchedulerTest, TheReaderCanStopWithinAToken) {
  Scheduler scheduler(std::make_unique<FakeRunner>(fake()), {});
  const auto sink = std::make_shared<Recorder>(5);
  ASSERT_TRUE(scheduler.submit(request({1, 2, 3}, 100), sink).ok());
  const Outcome outcome = sink->wait();
  EXPECT_EQ(outcome.finish, FinishReason::kStop);
  EXPECT_EQ(outcome.generated_tokens, 5);
  EXPECT_EQ(sink->tokens.size(), 5u);
  // Also where it is the last one anyway.
  const auto last = std::make_shared<Recorder>(5);
  ASSERT_TRUE(scheduler.submit(request({1, 2, 3}, 5), last).ok());
  EXPECT_EQ(last->wait().finish, FinishReason::kStop);
  EXPECT_EQ(scheduler.stats().total().finished[static_cast<size_t>(FinishReason::kStop)], 2);
}

// One that stops among others that go on: it gets no token more, nor is charged for one.
TEST_P(SchedulerTest, StoppedReadersLeaveTheOthersAlone) {
  const FakeRunner reference(fake());
  Scheduler scheduler(std::make_unique<FakeRunner>(fake()), {});
  std::vector<std::shared_ptr<Recorder>> sinks;
  int64_t expected = 0;
  for (Token i = 0; i < 24; ++i) {
    const int64_t stop_after = i % 2 == 0 ? 3 + i : -1;
    expected += stop_after > 0 ? stop_after : 60;
    sinks.push_back(std::make_shared<Recorder>(stop_after));
    ASSERT_TRUE(scheduler.submit(request({i, 2, 3}, 60, i % 3), sinks.back()).ok());
  }
  for (Token i = 0; i < 24; ++i) {
    const auto& sink = sinks[static_cast<size_t>(i)];
    const Outcome outcome = sink->wait();
    EXPECT_EQ(outcome.finish, i % 2 == 0 ? FinishReason::kStop : FinishReason::kLength);
    EXPECT_EQ(outcome.generated_tokens, static_cast<int64_t>(sink->tokens.size()));
    std::vector<Token> prompt = {i, 2, 3};
    const Sampler sampler{SamplingParams{}};
    for (const Token token : sink->tokens) {
      ASSERT_EQ(token, reference.next_token(prompt, sampler));
      prompt.push_back(token);
    }
  }
  EXPECT_TRUE(scheduler.drain(std::chrono::seconds(30)));
  EXPECT_EQ(scheduler.stats().total().generated_tokens, expected);
  EXPECT_EQ(scheduler.stats().pages_used, 0);
}

TEST_P(SchedulerTest, StopTokensEndWithoutBeingShown) {
  const FakeRunner reference{fake()};
  std::vector<Token> tokens = {1, 2, 3};
  const Sampler sampler{SamplingParams{}};
  while (tokens.size() < 8) tokens.push_back(reference.next_token(tokens, sampler));
  Scheduler scheduler(std::make_unique<FakeRunner>(fake()), {});
  Request asked = request({1, 2, 3}, 100);
  asked.stop_tokens = {tokens[6]};
  const auto sink = std::make_shared<Recorder>();
  ASSERT_TRUE(scheduler.submit(std::move(asked), sink).ok());
  const Outcome outcome = sink->wait();
  EXPECT_EQ(outcome.finish, FinishReason::kStop);
  EXPECT_EQ(outcome.stop_token, tokens[6]);
  EXPECT_EQ(outcome.generated_tokens, 4);
  EXPECT_EQ(sink->tokens, std::vector<Token>(tokens.begin() + 3, tokens.begin() + 6));
}

TEST_P(SchedulerTest, AFullQueueRefuses) {
  FakeOptions options = fake();
  options.limits.max_sequences = options.limits.max_sampled = 1;
  options.step_cost_base = std::chrono::milliseconds(1);
  Scheduler scheduler(std::make_unique<FakeRunner>(options), {.max_queued = 4});
  scheduler.set_policy(TenantId{9}, {.max_queued = 1});
  const auto running = std::make_shared<Recorder>();
  const auto id = scheduler.submit(request({1}, -1), running);
  ASSERT_TRUE(id.ok());
  running->wait_for_tokens(1);  // it has left the queue
  ASSERT_TRUE(scheduler.submit(request({1}, 1, 9), std::make_shared<Recorder>()).ok());
  const auto over = scheduler.submit(request({1}, 1, 9), std::make_shared<Recorder>());
  ASSERT_FALSE(over.ok());
  EXPECT_EQ(over.error().code, ErrorCode::kExhausted);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(scheduler.submit(request({1}, 1), std::make_shared<Recorder>()).ok());
  }
  const auto full = scheduler.submit(request({1}, 1), std::make_shared<Recorder>());
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, ErrorCode::kExhausted);
  EXPECT_GE(scheduler.retry_after().count(), 1);
  scheduler.cancel(*id);
  EXPECT_TRUE(scheduler.drain(std::chrono::seconds(30)));
  const auto late = scheduler.submit(request({1}, 1), std::make_shared<Recorder>());
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, ErrorCode::kUnavailable);
}

TEST_P(SchedulerTest, ABrokenEngineFailsWhatItHeldAndRefusesTheRest) {
  FakeOptions options = fake();
  options.step_cost_base = std::chrono::milliseconds(1);
  std::atomic<bool> broken{false};
  options.before_step = [&](std::span<const StepWork>) -> Status {
    if (!broken) return {};
    return Error{ErrorCode::kUnavailable, "the device is gone"};
  };
  Scheduler scheduler(std::make_unique<FakeRunner>(options), {});
  Scheduler other(std::make_unique<FakeRunner>(fake()), {});
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (int i = 0; i < 5; ++i) {
    sinks.push_back(std::make_shared<Recorder>());
    ASSERT_TRUE(scheduler.submit(request({1, 2}, -1), sinks.back()).ok());
  }
  sinks[0]->wait_for_tokens(3);
  broken = true;
  for (const auto& sink : sinks) {
    const Outcome outcome = sink->wait();
    EXPECT_EQ(outcome.finish, FinishReason::kError);
    ASSERT_TRUE(outcome.error.has_value());
    EXPECT_EQ(outcome.error->message, "the device is gone");
  }
  EXPECT_TRUE(scheduler.drain(std::chrono::seconds(30)));
  const auto refused = scheduler.submit(request({1}, 1), std::make_shared<Recorder>());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(scheduler.stats().fault.has_value());
  EXPECT_EQ(scheduler.stats().pages_used, 0);
  const auto fine = std::make_shared<Recorder>();
  ASSERT_TRUE(other.submit(request({1}, 2), fine).ok());
  EXPECT_EQ(fine->wait().finish, FinishReason::kLength);
}

TEST_P(SchedulerTest, OneBadRequestFailsAlone) {
  FakeOptions options = fake();
  options.before_step = [](std::span<const StepWork> work) -> Status {
    for (const StepWork& piece : work) {
      if (piece.tokens[0] == 666) return Error{ErrorCode::kBadModel, "not a number"};
    }
    return {};
  };
  Scheduler scheduler(std::make_unique<FakeRunner>(options), {});
  const auto good = std::make_shared<Recorder>(), bad = std::make_shared<Recorder>();
  ASSERT_TRUE(scheduler.submit(request({1, 2}, 200), good).ok());
  good->wait_for_tokens(1);
  ASSERT_TRUE(scheduler.submit(request({666}, 20), bad).ok());
  EXPECT_EQ(bad->wait().finish, FinishReason::kError);
  EXPECT_EQ(good->wait().finish, FinishReason::kLength);
  EXPECT_EQ(good->tokens.size(), 200u);
}

TEST_P(SchedulerTest, StoppingEndsEverything) {
  auto scheduler =
      std::make_unique<Scheduler>(std::make_unique<FakeRunner>(fake()), SchedulerOptions{});
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (int i = 0; i < 10; ++i) {
    sinks.push_back(std::make_shared<Recorder>());
    ASSERT_TRUE(scheduler->submit(request({1, 2}, -1), sinks.back()).ok());
  }
  EXPECT_FALSE(scheduler->drain(std::chrono::milliseconds(1)));
  scheduler.reset();
  for (const auto& sink : sinks) EXPECT_NE(sink->wait().finish, FinishReason::kError);
}

TEST_P(SchedulerTest, DeadlinesEndRunningAndWaitingRequests) {
  FakeOptions options = fake();
  options.limits.max_sequences = options.limits.max_sampled = 1;
  options.limits.context = 1 << 20;
  options.num_pages = 1 << 15;
  Scheduler scheduler(std::make_unique<FakeRunner>(options), {});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(30);
  const auto running = std::make_shared<Recorder>(), waiting = std::make_shared<Recorder>();
  for (const auto& sink : {running, waiting}) {
    Request asked = request({1}, -1);
    asked.deadline = deadline;
    ASSERT_TRUE(scheduler.submit(std::move(asked), sink).ok());
  }
  EXPECT_EQ(running->wait().finish, FinishReason::kDeadline);
  EXPECT_EQ(waiting->wait().finish, FinishReason::kDeadline);
  EXPECT_EQ(waiting->wait().generated_tokens, 0);
}

// Even tokens only; not ready until told so.
class EvenTokens final : public TokenConstraint {
 public:
  explicit EvenTokens(std::atomic<bool>& is_ready) : ready_(is_ready), mask_(32, 0x55555555) {}
  bool ready() override { return ready_; }
  Result<std::span<const uint32_t>> allowed() override { return std::span<const uint32_t>(mask_); }
  Status accept(Token token) override {
    EXPECT_EQ(token % 2, 0);
    if (++accepted_ < 8) return {};
    return Error{ErrorCode::kInvalidArgument, "enough"};
  }

 private:
  std::atomic<bool>& ready_;
  std::vector<uint32_t> mask_;
  int accepted_ = 0;
};

TEST_P(SchedulerTest, AConstraintThatIsNotReadyHoldsUpNobodyElse) {
  Scheduler scheduler(std::make_unique<FakeRunner>(fake()), {});
  std::atomic<bool> ready{false};
  Request asked = request({1, 2, 3}, 100);
  asked.constraint = std::make_unique<EvenTokens>(ready);
  const auto late = std::make_shared<Recorder>(), other = std::make_shared<Recorder>();
  ASSERT_TRUE(scheduler.submit(std::move(asked), late).ok());
  ASSERT_TRUE(scheduler.submit(request({1, 2, 3}, 50), other).ok());
  EXPECT_EQ(other->wait().finish, FinishReason::kLength);
  ready = true;
  scheduler.wake();
  const Outcome outcome = late->wait();
  EXPECT_EQ(outcome.finish, FinishReason::kError);
  EXPECT_EQ(outcome.error->message, "enough");
  EXPECT_EQ(late->tokens.size(), 8u);
}

TEST_P(SchedulerTest, PromptsOnlyAndUnknownAdapters) {
  Scheduler scheduler(std::make_unique<FakeRunner>(fake()), {});
  const auto sink = std::make_shared<Recorder>();
  ASSERT_TRUE(scheduler.submit(request({1, 2, 3}, 0), sink).ok());
  const Outcome outcome = sink->wait();
  EXPECT_EQ(outcome.finish, FinishReason::kLength);
  EXPECT_EQ(outcome.generated_tokens, 0);
  Request with_adapter = request({1}, 1);
  with_adapter.adapter = AdapterId{3};
  const auto refused = scheduler.submit(std::move(with_adapter), sink);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace realm
