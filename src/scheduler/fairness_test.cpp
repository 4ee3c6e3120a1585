// What a tenant is sure of, whatever the others send: while it has requests waiting it is served,
// by weight, as much as anybody else less a constant (Sheng et al., "Fairness in Serving Large
// Language Models", 2024, theorem 1). Random prompts, answers, cancels, weights and too few pages;
// one tenant sends ten times what the machine can do. REALM_SIMULATION_SEED replays a seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <random>

#include "scheduler/fake_runner.h"
#include "scheduler/planner.h"

namespace realm {
namespace {

constexpr int64_t kPrompt = 80, kAnswer = 50;  // at the most
constexpr TenantId kGreedy{0};

class NoSink final : public Sink {
 public:
  bool on_token(const TokenEvent&) override { return true; }
  void on_end(const Outcome&) override {}
};

class Contest {
 public:
  Contest(uint64_t seed, double burst)
      : random_(seed),
        burst_(burst),
        sequences_(pick(2, 10)),
        runner_({.limits = {.context = 256,
                            .max_step_tokens = pick(sequences_, 160),
                            .max_sequences = sequences_,
                            .max_sampled = sequences_,
                            .vocab_size = 512},
                 .num_pages = static_cast<int32_t>(pick(8, 50))}),
        planner_(runner_.limits(), runner_.pages(), {.burst = burst}) {
    const int64_t others = pick(1, 5);
    for (int64_t t = 0; t <= others; ++t) {
      const auto weight = static_cast<double>(pick(1, 3));
      tenants_[TenantId{t}] = {.weight = weight, .arrivals = t == 0 ? 100 : pick(5, 60)};
      planner_.set_policy(TenantId{t}, {.weight = weight});
    }
  }

  void run(int64_t steps) {
    for (int64_t i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      now_ += 0.01;
      for (auto& [id, tenant] : tenants_) {
        const int64_t most = id == kGreedy ? 40 : 8;
        // The others come and go: now and then one sends nothing for a while.
        if (chance(1)) tenant.sleeps = id != kGreedy && !tenant.sleeps;
        if (!tenant.sleeps && chance(tenant.arrivals) && waiting(id) < most) add(id);
      }
      if (chance(3)) planner_.end(RequestId{next_id_ - 1}, FinishReason::kCancelled);
      const std::map<TenantId, bool> backlogged = who_waits();
      step();
      check(backlogged, i);
    }
  }

  double least_margin() const { return least_margin_; }
  int64_t checks() const { return checks_; }

 private:
  struct State {
    double weight;
    int64_t arrivals;  // percent of the steps
    bool sleeps = false;
  };
  // Of two tenants, while the first has waited without a break: the most that it was ahead.
  struct Pair {
    bool open = false;
    double most_ahead = 0;
  };

  int64_t pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  bool chance(int64_t percent) { return pick(1, 100) <= percent; }

  int64_t waiting(TenantId id) const {
    const Tenant* tenant = planner_.find_tenant(id);
    return static_cast<int64_t>(tenant->waiting.size());
  }

  std::map<TenantId, bool> who_waits() const {
    std::map<TenantId, bool> result;
    for (const auto& [id, state] : tenants_) result[id] = waiting(id) > 0;
    return result;
  }

  void add(TenantId tenant) {
    Request request{.tenant = tenant, .max_tokens = pick(1, kAnswer)};
    request.prompt.resize(static_cast<size_t>(pick(1, kPrompt)));
    for (Token& token : request.prompt) token = static_cast<Token>(pick(0, 511));
    request.priority = static_cast<Priority>(pick(-1, 1));
    if (!Planner::check(request, runner_.limits(), runner_.pages().num_pages(), {}).ok()) return;
    auto live = std::make_unique<LiveRequest>(RequestId{next_id_++}, std::move(request),
                                              std::make_shared<NoSink>(), runner_.pages());
    live->submitted_at = now_;
    planner_.add(std::move(live));
  }

  void step() {
    planner_.advance(now_);
    const StepPlan& plan = planner_.plan(pace_);
    // What each was given, by weight, from the requests themselves and not from the counters that
    // the planner chooses by.
    for (const LiveRequest* request : plan.started) {
      serve(request->request.tenant,
            static_cast<double>(request->prompt_tokens - request->outcome.cached_tokens));
    }
    if (!plan.work.empty()) {
      ASSERT_TRUE(run_plan(runner_, planner_, plan, outputs_).ok());
      planner_.commit(outputs_, now_);
      for (const PlannedToken& token : planner_.tokens()) {
        serve(token.request->request.tenant, PlannerOptions().generated_token_cost);
      }
      planner_.conclude();
    }
    planner_.take_ended();
  }

  void serve(TenantId id, double cost) { served_[id] += cost / tenants_[id].weight; }

  // Twice the larger of what the costliest prompt and the running batch can be served before others
  // are asked.
  double bound() const {
    return 2.0 *
           std::max<double>(kPrompt, 2.0 * static_cast<double>(sequences_ * (kPrompt + kAnswer)));
  }

  void check(const std::map<TenantId, bool>& waited, int64_t step) {
    for (const auto& [id, state] : tenants_) {
      const bool waits = waited.at(id) && waiting(id) > 0;
      for (const auto& [other, other_state] : tenants_) {
        if (id == other) continue;
        Pair& pair = pairs_[{id, other}];
        const double ahead = served_[id] - served_[other];
        if (!waits || !pair.open) pair.most_ahead = ahead;
        pair.open = waits;
        if (!waits) continue;
        pair.most_ahead = std::max(pair.most_ahead, ahead);
        const double margin = bound() - (pair.most_ahead - ahead);
        least_margin_ = std::min(least_margin_, margin / bound());
        ++checks_;
        ASSERT_GE(margin, 0) << "tenant " << static_cast<int64_t>(id) << " beside "
                             << static_cast<int64_t>(other) << ", step " << step;
      }
    }
  }

  std::mt19937_64 random_;
  const double burst_;
  const int64_t sequences_;
  FakeRunner runner_;
  Planner planner_;
  const StepPace pace_{std::numeric_limits<double>::infinity()};
  std::map<TenantId, State> tenants_;
  std::map<TenantId, double> served_;
  std::map<std::pair<TenantId, TenantId>, Pair> pairs_;
  std::vector<StepOutput> outputs_;
  uint64_t next_id_ = 1;
  double now_ = 0;
  double least_margin_ = 1;
  int64_t checks_ = 0;
};

TEST(Fairness, ATenantThatWaitsIsNeverServedLessThanOthersButForAConstant) {
  const char* replay = std::getenv("REALM_SIMULATION_SEED");
  const uint64_t first = replay == nullptr ? 0 : std::strtoull(replay, nullptr, 10);
  double least_margin = 1;
  int64_t checks = 0;
  for (uint64_t seed = first; seed < first + 40 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Contest contest(seed, seed % 2 == 0 ? 0 : 500);
    contest.run(2000);
    least_margin = std::min(least_margin, contest.least_margin());
    checks += contest.checks();
  }
  EXPECT_GT(checks, 10000);
  EXPECT_LT(least_margin, 0.9) << "the bound was never near";
}

}  // namespace
}  // namespace realm
