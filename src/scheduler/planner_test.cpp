#include "scheduler/planner.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <random>

#include "scheduler/fake_runner.h"

namespace realm {
namespace {

class NoSink final : public Sink {
 public:
  bool on_token(const TokenEvent&) override { return true; }
  void on_end(const Outcome&) override {}
};

// A planner over a fake runner, a step at a time.
class Bench {
 public:
  explicit Bench(RunnerLimits limits, int32_t num_pages = 1000, bool prefix_cache = true)
      : runner({.limits = limits, .num_pages = num_pages}),
        planner(runner.limits(), runner.pages(), {.prefix_cache = prefix_cache}) {}

  RequestId add(Request request) {
    auto live = std::make_unique<LiveRequest>(RequestId{next_id++}, std::move(request),
                                              std::make_shared<NoSink>(), runner.pages());
    live->submitted_at = now;
    const RequestId id = live->id;
    planner.add(std::move(live));
    return id;
  }

  RequestId add(int64_t tenant, int64_t prompt_tokens, int64_t max_tokens,
                Priority priority = Priority::kNormal) {
    Request request{.tenant = TenantId{tenant}, .max_tokens = max_tokens, .priority = priority};
    for (int64_t i = 0; i < prompt_tokens; ++i) {
      request.prompt.push_back(static_cast<Token>(random() % 1024));
    }
    return add(std::move(request));
  }

  // Number of pieces of work of the step.
  size_t step() {
    now += 0.01;
    planner.advance(now);
    const StepPlan& plan = planner.plan(pace);
    const size_t size = plan.work.size();
    started.clear();
    for (const LiveRequest* request : plan.started) started.push_back(request->id);
    if (size > 0) {
      EXPECT_TRUE(run_plan(runner, planner, plan, outputs, meanwhile).ok());
      planner.commit(outputs, now);
      planner.conclude();
    }
    for (auto& request : planner.take_ended()) ended[request->id] = request->outcome;
    return size;
  }

  void run_all() {
    for (int i = 0; i < 100'000 && planner.num_requests() > 0; ++i) step();
    EXPECT_EQ(planner.num_requests(), 0);
  }

  int64_t running(int64_t tenant) const { return planner.find_tenant(TenantId{tenant})->running; }
  double service(int64_t tenant) const { return planner.find_tenant(TenantId{tenant})->service; }

  FakeRunner runner;
  Planner planner;
  StepPace pace{std::numeric_limits<double>::infinity()};
  std::vector<StepOutput> outputs;
  std::function<void()> meanwhile;  // while a step runs
  std::vector<RequestId> started;
  std::map<RequestId, Outcome> ended;
  std::mt19937_64 random{1};
  uint64_t next_id = 1;
  double now = 0;
};

RunnerLimits limits(int64_t sequences, int64_t step_tokens = 512, int64_t context = 4096) {
  return {.context = context,
          .max_step_tokens = step_tokens,
          .max_sequences = sequences,
          .max_sampled = sequences,
          .vocab_size = 1024};
}

TEST(Planner, RequestsJoinAndLeaveAtAnyStep) {
  Bench bench(limits(4));
  const RequestId first = bench.add(1, 10, 5);
  bench.step();
  const RequestId second = bench.add(1, 10, 2);
  EXPECT_EQ(bench.step(), 2u);
  EXPECT_EQ(bench.step(), 2u);
  EXPECT_EQ(bench.ended.at(second).finish, FinishReason::kLength);
  EXPECT_EQ(bench.step(), 1u);
  EXPECT_EQ(bench.step(), 1u);
  EXPECT_EQ(bench.ended.at(first).generated_tokens, 5);
  EXPECT_EQ(bench.step(), 0u);
}

// The next step is planned while one runs; what comes in between is put right when it is to run.
TEST(Planner, APlanMadeAheadIsPutRight) {
  Bench bench(limits(4, 100), 8, false);
  Request stops{.tenant = TenantId{1}, .prompt = std::vector<Token>(10, 3), .max_tokens = 50};
  const RequestId stopped = bench.add(std::move(stops)), longer = bench.add(1, 20, 50);
  const RequestId last = bench.add(1, 10, 2);
  bench.step();  // each has a token
  RequestId late{};
  bench.meanwhile = [&] {
    late = bench.add(2, 30, 3);
    bench.planner.plan_ahead(bench.pace);
  };
  EXPECT_EQ(bench.step(), 3u);
  EXPECT_EQ(bench.ended.at(last).generated_tokens, 2);  // known beforehand to end
  bench.meanwhile = {};
  bench.planner.end(stopped, FinishReason::kCancelled);
  bench.planner.pause(longer, true);
  const RequestId latest = bench.add(2, 5, 1);
  // Neither the one that has ended nor the one that sits out; who came while the step ran, and
  // after.
  EXPECT_EQ(bench.step(), 2u);
  EXPECT_EQ(bench.started, (std::vector<RequestId>{late, latest}));
  EXPECT_EQ(bench.ended.at(latest).generated_tokens, 1);
  bench.planner.pause(longer, false);
  bench.run_all();
  EXPECT_EQ(bench.ended.at(longer).generated_tokens, 50);
  EXPECT_EQ(bench.ended.at(late).generated_tokens, 3);
}

// Where somebody has to give way, nothing is taken from who runs.
TEST(Planner, NobodyGivesWayToAPlanMadeAhead) {
  Bench bench(limits(4), 8, false);
  const RequestId first = bench.add(1, 100, 100), second = bench.add(1, 100, 100);
  bench.meanwhile = [&] {
    const int64_t running = bench.running(1);
    bench.planner.plan_ahead(bench.pace);
    EXPECT_EQ(bench.running(1), running);
  };
  bench.run_all();
  EXPECT_EQ(bench.ended.at(first).preemptions, 0);
  EXPECT_GT(bench.ended.at(second).preemptions, 0);
  EXPECT_EQ(bench.ended.at(first).generated_tokens, 100);
  EXPECT_EQ(bench.ended.at(second).generated_tokens, 100);
}

TEST(Planner, ChunksOfAPromptRunBesideStreams) {
  Bench bench(limits(4, 100));
  bench.add(1, 10, 50);
  bench.step();
  const RequestId late = bench.add(1, 350, 1);
  for (int i = 0; i < 3; ++i) {
    bench.step();
    EXPECT_EQ(bench.ended.count(late), 0u);
  }
  // 99 a step beside the stream's one.
  bench.step();
  EXPECT_EQ(bench.ended.count(late), 1u);
}

TEST(Planner, EndsWhereContextOrPagesEnd) {
  Bench bench(limits(2, 512, 64));
  const RequestId full = bench.add(1, 60, -1);
  bench.run_all();
  EXPECT_EQ(bench.ended.at(full).finish, FinishReason::kContextFull);
  EXPECT_EQ(bench.ended.at(full).generated_tokens, 5);  // the last needs no place of its own

  Bench small(limits(2), 2);
  const RequestId alone = small.add(1, 40, -1);
  small.run_all();
  EXPECT_EQ(small.ended.at(alone).finish, FinishReason::kContextFull);
  EXPECT_EQ(small.ended.at(alone).generated_tokens, 25);

  Bench capped(limits(2));
  capped.planner.set_policy(TenantId{1}, {.max_pages = 3});
  const RequestId first = capped.add(1, 40, -1), second = capped.add(1, 30, -1);
  capped.run_all();
  EXPECT_EQ(capped.ended.at(first).generated_tokens, 57);
  EXPECT_EQ(capped.ended.at(second).generated_tokens, 67);
}

TEST(Planner, RefusesWhatCanNeverRun) {
  const RunnerLimits some = limits(2, 512, 100);
  const auto refused = [&](Request request, int32_t pages, const TenantPolicy& policy) {
    const Status status = Planner::check(request, some, pages, policy);
    return !status.ok() && status.error().code == ErrorCode::kInvalidArgument;
  };
  const std::vector<Token> prompt(100, 1);
  EXPECT_FALSE(refused({.prompt = prompt}, 4, {}));
  EXPECT_TRUE(refused({.prompt = {}}, 4, {}));
  EXPECT_TRUE(refused({.prompt = std::vector<Token>(101, 1)}, 40, {}));
  EXPECT_TRUE(refused({.prompt = prompt}, 3, {}));
  EXPECT_TRUE(refused({.prompt = prompt}, 4, {.max_pages = 3}));
  EXPECT_TRUE(refused({.prompt = prompt}, 4, {.max_running = 0}));
  EXPECT_TRUE(refused({.prompt = {5, -1}}, 4, {}));
  EXPECT_TRUE(refused({.prompt = {5, 1024}}, 4, {}));
  EXPECT_TRUE(refused({.prompt = prompt, .sampling = {.temperature = -1}}, 4, {}));
}

TEST(Planner, PreemptedRequestsLoseNothing) {
  // Two that together outgrow the pages: the later one gives way and is recomputed.
  for (const bool cache : {true, false}) {
    Bench bench(limits(4), 8, cache);
    const RequestId first = bench.add(1, 100, 100), second = bench.add(1, 100, 100);
    bench.run_all();
    EXPECT_EQ(bench.ended.at(first).preemptions, 0);
    EXPECT_GT(bench.ended.at(second).preemptions, 0);
    EXPECT_EQ(bench.ended.at(first).generated_tokens, 100);
    EXPECT_EQ(bench.ended.at(second).generated_tokens, 100);
    EXPECT_EQ(bench.service(1), 2 * (100 + 2 * 100)) << "recomputing is not charged";
  }
}

TEST(Planner, CancelAndDeadlineFreePagesBeforeTheNextStep) {
  Bench bench(limits(4), 100, false);
  const RequestId cancelled = bench.add(1, 100, 1000);
  Request request{.tenant = TenantId{1}, .prompt = std::vector<Token>(50, 3), .max_tokens = 1000};
  auto live = std::make_unique<LiveRequest>(RequestId{77}, std::move(request),
                                            std::make_shared<NoSink>(), bench.runner.pages());
  live->deadline = 0.025;
  bench.planner.add(std::move(live));
  bench.step();
  bench.step();
  EXPECT_LT(bench.runner.pages().pages_free(), 100);
  bench.planner.end(cancelled, FinishReason::kCancelled);
  EXPECT_EQ(bench.step(), 0u);
  EXPECT_EQ(bench.runner.pages().pages_free(), 100);
  EXPECT_EQ(bench.ended.at(cancelled).finish, FinishReason::kCancelled);
  EXPECT_EQ(bench.ended.at(RequestId{77}).finish, FinishReason::kDeadline);
  EXPECT_EQ(bench.ended.at(RequestId{77}).generated_tokens, 2);
  bench.planner.end(cancelled, FinishReason::kCancelled);  // too late: nothing happens
  EXPECT_EQ(bench.step(), 0u);
}

// --- The prefix cache ---

TEST(Planner, PrefixesAreSharedWithinATenantAdapterAndSaltOnly) {
  Bench bench(limits(4));
  std::vector<Token> prompt(100);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<Token>(i);
  const auto cached = [&](Request request) {
    request.prompt = prompt;
    request.max_tokens = 1;
    const RequestId id = bench.add(std::move(request));
    bench.run_all();
    return bench.ended.at(id).cached_tokens;
  };
  EXPECT_EQ(cached({.tenant = TenantId{1}}), 0);
  EXPECT_EQ(cached({.tenant = TenantId{1}}), 96);
  EXPECT_EQ(cached({.tenant = TenantId{2}}), 0);
  EXPECT_EQ(cached({.tenant = TenantId{1}, .adapter = AdapterId{1}}), 0);
  EXPECT_EQ(cached({.tenant = TenantId{1}, .cache_salt = "x"}), 0);
  EXPECT_EQ(cached({.tenant = TenantId{1}, .cache_salt = "x"}), 96);
  EXPECT_EQ(cached({.tenant = TenantId{1}, .cache_prompt = false}), 0);
  prompt.resize(96);  // the last token runs in any case
  EXPECT_EQ(cached({.tenant = TenantId{1}}), 64);

  // Published: whoever computes it leaves it to all.
  bench.planner.publish({prompt.begin(), prompt.begin() + 70}, AdapterId::kNone);
  EXPECT_EQ(cached({.tenant = TenantId{3}}), 0);
  EXPECT_EQ(cached({.tenant = TenantId{4}}), 64);
  bench.planner.unpublish(std::span(prompt).first(70), AdapterId::kNone);
  EXPECT_EQ(cached({.tenant = TenantId{5}}), 0);
  EXPECT_EQ(cached({.tenant = TenantId{4}}), 64) << "its own by now";
}

TEST(Planner, AnswersAreReusedByTheNextTurn) {
  Bench bench(limits(4));
  std::vector<Token> prompt(40, 7);
  const RequestId first = bench.add({.prompt = prompt, .max_tokens = 60});
  bench.run_all();
  EXPECT_EQ(bench.ended.at(first).generated_tokens, 60);
  const Sampler greedy{SamplingParams{}};
  while (prompt.size() < 100) prompt.push_back(bench.runner.next_token(prompt, greedy));
  prompt.push_back(5);
  const RequestId second = bench.add({.prompt = prompt, .max_tokens = 1});
  bench.run_all();
  EXPECT_EQ(bench.ended.at(second).cached_tokens, 96);
}

TEST(Planner, ChoicesOfOnePromptWaitForItInsteadOfComputingItAgain) {
  Bench bench(limits(8, 64));
  const std::vector<Token> prompt(200, 7);
  std::vector<RequestId> choices;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    choices.push_back(bench.add({.prompt = prompt, .sampling = {.seed = seed}, .max_tokens = 3}));
  }
  const RequestId other = bench.add(0, 20, 3);  // does not wait with them
  bench.run_all();
  EXPECT_EQ(bench.ended.at(choices[0]).cached_tokens, 0);
  for (size_t i = 1; i < choices.size(); ++i) {
    EXPECT_EQ(bench.ended.at(choices[i]).cached_tokens, 192);
  }
  EXPECT_LT(bench.ended.at(other).queue_seconds, 0.015);
}

TEST(Planner, OldPrefixesMakeRoom) {
  Bench bench(limits(2), 8);
  const auto cached = [&](Token token) {
    const RequestId id = bench.add({.prompt = std::vector<Token>(97, token), .max_tokens = 1});
    bench.run_all();
    return bench.ended.at(id).cached_tokens;
  };
  EXPECT_EQ(cached(1), 0);
  EXPECT_EQ(cached(2), 0);
  EXPECT_EQ(cached(1), 96);
  EXPECT_EQ(cached(3), 0);  // takes pages of 2, the least recently used
  EXPECT_EQ(cached(1), 96);
  EXPECT_LT(cached(2), 96);
}

// --- Fairness ---

// Sheng et al., theorem 1: between tenants that always have requests waiting, the difference in
// service per weight stays below twice the larger of the costliest prompt and what the running
// batch can be served before it ends.
TEST(Planner, BackloggedTenantsAreServedByWeight) {
  constexpr int64_t kSlots = 8, kPrompt = 60, kAnswer = 40;
  Bench bench(limits(kSlots, 64), 40);
  bench.planner.set_policy(TenantId{2}, {.weight = 2});
  bench.planner.set_policy(TenantId{3}, {.weight = 3});
  const double bound = 2.0 * std::max<double>(kPrompt, 2.0 * kSlots * (kPrompt + kAnswer));
  for (int i = 0; i < 20'000; ++i) {
    // Long prompts, long answers, both: what is asked must not matter.
    while (bench.planner.find_tenant(TenantId{1}) == nullptr ||
           bench.planner.find_tenant(TenantId{1})->waiting.size() < 3) {
      bench.add(1, kPrompt, 3);
    }
    while (bench.planner.find_tenant(TenantId{2}) == nullptr ||
           bench.planner.find_tenant(TenantId{2})->waiting.size() < 20) {
      bench.add(2, 5, kAnswer);
    }
    while (bench.planner.find_tenant(TenantId{3}) == nullptr ||
           bench.planner.find_tenant(TenantId{3})->waiting.size() < 3) {
      bench.add(3, 30, 20);
    }
    bench.step();
    for (const auto& [a, b] : {std::pair{1, 2}, {2, 3}, {1, 3}}) {
      ASSERT_LE(std::abs(bench.service(a) - bench.service(b)), bound) << "step " << i;
    }
  }
  EXPECT_GT(bench.service(1), 10 * bound) << "the bound says something only in the long run";
}

TEST(Planner, AnIdleTenantSavesNothingUp) {
  Bench bench(limits(4));
  for (int i = 0; i < 100; ++i) bench.add(1, 20, 20);
  for (int i = 0; i < 200; ++i) bench.step();
  EXPECT_GT(bench.service(1), 1000);
  bench.add(2, 20, 20);
  EXPECT_EQ(bench.service(2), bench.service(1));
}

TEST(Planner, AGreedyTenantGivesUpSlotsAtOnce) {
  Bench bench(limits(8));
  for (int i = 0; i < 100; ++i) bench.add(1, 20, 1000);
  bench.step();
  EXPECT_EQ(bench.running(1), 8);
  bench.step();
  for (int i = 0; i < 10; ++i) bench.add(2, 20, 1000);
  // The newcomer stands level with the other at first, and is next whenever it was served less.
  bench.step();
  bench.step();
  EXPECT_GE(bench.running(2), 1);
  for (int i = 0; i < 30; ++i) bench.step();
  for (int i = 0; i < 100; ++i) {
    bench.step();
    EXPECT_EQ(bench.running(1), 4) << "slots do not go back and forth";
    EXPECT_EQ(bench.running(2), 4);
  }
}

// A tenant that sends a little is not to notice one that sends all it can.
TEST(Planner, ALightTenantsPromptsWaitForNobody) {
  Bench bench(limits(8, 100));
  for (int i = 0; i < 200; ++i) bench.add(1, 90, 400);
  for (int i = 0; i < 300; ++i) bench.step();
  std::vector<RequestId> light;
  for (int i = 0; i < 3; ++i) {
    // One after the other: each stands behind what the last was charged, but for the burst.
    light.push_back(bench.add(2, 350, 2));
    for (int step = 0; step < 5; ++step) bench.step();
    EXPECT_EQ(bench.ended.count(light.back()), 1u) << "a prompt in four steps of 100, and a token";
    for (int step = 0; step < 40; ++step) bench.step();
  }
  EXPECT_LT(bench.service(2), bench.service(1));

  // A long one holds the others' streams up for a second at most (100 steps) and gets on after it.
  Bench other(limits(8, 20));
  for (int i = 0; i < 20; ++i) other.add(1, 20, 4000);
  for (int i = 0; i < 1000; ++i) other.step();
  const double before = other.service(1);
  const RequestId slow = other.add(2, 3000, 1);
  for (int i = 0; i < 90; ++i) other.step();
  EXPECT_EQ(other.service(1), before);
  for (int i = 0; i < 60; ++i) other.step();
  EXPECT_GT(other.service(1), before);
  EXPECT_EQ(other.ended.count(slow), 0u);
  for (int i = 0; i < 200; ++i) other.step();
  EXPECT_EQ(other.ended.count(slow), 1u);
}

TEST(Planner, ShortPromptsDoNotWaitForALongOne) {
  Bench bench(limits(8, 100));
  const RequestId slow = bench.add(1, 3000, 1);
  for (int i = 0; i < 8; ++i) bench.step();
  const RequestId fast = bench.add(1, 50, 1);
  for (int i = 0; i < 2; ++i) bench.step();
  EXPECT_EQ(bench.ended.count(fast), 1u);
  // A flood of short ones does not stop it.
  for (int i = 0; i < 70; ++i) {
    if (bench.planner.num_requests() < 8) bench.add(1, 100, 1);
    bench.step();
  }
  EXPECT_EQ(bench.ended.count(slow), 1u);
}

// Steps of 10 ms and a millisecond more for each token of a prompt.
int steps_of_a_prompt_beside_a_stream(int64_t length, bool more_in_line) {
  Bench bench(limits(2));
  bench.pace = StepPace(2.0);
  bench.pace.observe(1, 0, 0.010);
  for (int i = 0; i < 50; ++i) {
    const int64_t tokens = bench.pace.prefill_tokens(1, 512);
    bench.pace.observe(1, tokens, 0.010 + 0.001 * static_cast<double>(tokens));
  }
  bench.add(1, 10, 500);
  bench.step();
  const RequestId prompt = bench.add(1, length, 1);
  if (more_in_line) bench.add(1, 10, 1);
  int steps = 0;
  while (steps < 400 && bench.ended.count(prompt) == 0) {
    bench.step();
    ++steps;
  }
  return steps;
}

TEST(Planner, OnlyTheLastInLineStretchesStepsFurther) {
  EXPECT_LT(steps_of_a_prompt_beside_a_stream(300, false), 10);
  const int steps = steps_of_a_prompt_beside_a_stream(300, true);
  EXPECT_GT(steps, 25);
  EXPECT_LT(steps, 60);
}

TEST(Planner, ALongPromptDoesNotStretchStepsFurther) {
  // Its first 512 tokens in some ten steps would leave 75.
  EXPECT_GT(steps_of_a_prompt_beside_a_stream(1100, false), 110);
}

TEST(Planner, PrioritiesCountWithinATenantAndFade) {
  Bench bench(limits(1));
  const RequestId running = bench.add(1, 10, 3);
  bench.step();
  const RequestId low = bench.add(1, 10, 1, Priority::kLow);
  const RequestId normal = bench.add(1, 10, 1);
  const RequestId high = bench.add(1, 10, 1, Priority::kHigh);
  bench.run_all();
  EXPECT_LT(bench.ended.at(high).queue_seconds, bench.ended.at(normal).queue_seconds);
  EXPECT_LT(bench.ended.at(normal).queue_seconds, bench.ended.at(low).queue_seconds);
  EXPECT_EQ(bench.ended.at(running).preemptions, 0);

  // A low one that has waited two classes' worth goes before a fresh high one.
  bench.add(1, 10, 3);
  bench.step();
  const RequestId old = bench.add(1, 10, 1, Priority::kLow);
  bench.now += 21;
  const RequestId fresh = bench.add(1, 10, 1, Priority::kHigh);
  bench.run_all();
  EXPECT_LT(bench.ended.at(old).queue_seconds, 21.1);
  EXPECT_GT(bench.ended.at(fresh).queue_seconds, 0.02);
}

TEST(Planner, ATenantAtItsLimitsHoldsUpNobody) {
  Bench bench(limits(8), 100);
  bench.planner.set_policy(TenantId{1}, {.max_running = 2});
  bench.planner.set_policy(TenantId{2}, {.max_pages = 4});
  for (int i = 0; i < 5; ++i) bench.add(1, 20, 50);
  for (int i = 0; i < 5; ++i) bench.add(2, 50, 10);
  bench.add(3, 20, 50);
  bench.step();
  EXPECT_EQ(bench.running(1), 2);
  EXPECT_EQ(bench.running(2), 2);
  EXPECT_EQ(bench.running(3), 1);
  bench.run_all();
}

TEST(Planner, ALargePromptIsNotOvertakenForEver) {
  Bench bench(limits(8), 20, false);
  for (int i = 0; i < 50; ++i) bench.add(1, 60, 20 + i % 7);
  bench.step();
  const RequestId large = bench.add(2, 600, 5);
  int steps = 0;
  while (bench.ended.count(large) == 0 && steps < 1000) {
    if (bench.planner.num_requests() < 20) bench.add(1, 60, 20);
    bench.step();
    ++steps;
  }
  EXPECT_LT(steps, 100);
}

TEST(Planner, PausedRequestsStandAsideAndComeBack) {
  Bench bench(limits(2), 100);
  const RequestId paused = bench.add(1, 40, 30);
  bench.step();
  bench.planner.pause(paused, true);
  const RequestId other = bench.add(1, 40, 30);
  const RequestId third = bench.add(1, 40, 30);
  for (int i = 0; i < 40; ++i) bench.step();
  EXPECT_EQ(bench.ended.count(other), 1u);
  EXPECT_EQ(bench.ended.count(third), 1u);
  EXPECT_EQ(bench.ended.count(paused), 0u);
  bench.planner.pause(paused, false);
  bench.run_all();
  EXPECT_EQ(bench.ended.at(paused).generated_tokens, 30);
  EXPECT_EQ(bench.ended.at(paused).preemptions, 1);
}

}  // namespace
}  // namespace realm
