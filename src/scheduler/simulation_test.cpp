// The planner over many random steps with a fake engine: tenants with policies, prompts that share
// prefixes within and across tenants, cancels, pauses, deadlines, priorities, faults, and a cache
// that is too small. Everything that must hold is checked after every step. REALM_SIMULATION_STEPS
// sets the number of steps in all (default 10^5), REALM_SIMULATION_SEED the first seed (to replay
// one).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "scheduler/fake_runner.h"
#include "scheduler/planner.h"

namespace realm {
namespace {

constexpr Token kVocab = 512;
constexpr Token kCursed = 511;  // a prompt that begins with it makes every step with it fail
constexpr size_t kPublishedTokens = 70;

int64_t setting(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

class NoSink final : public Sink {
 public:
  bool on_token(const TokenEvent&) override { return true; }
  void on_end(const Outcome&) override {}
};

// Allows every token, but not at every moment, and may end the text.
class MoodyConstraint final : public TokenConstraint {
 public:
  explicit MoodyConstraint(uint64_t seed) : random_(seed) {}
  bool ready() override { return random_() % 4 != 0; }
  Result<std::span<const uint32_t>> allowed() override { return std::span<const uint32_t>(); }
  Status accept(Token token) override {
    complete_ = token % 32 == 0;
    return {};
  }
  bool complete() const override { return complete_; }

 private:
  std::minstd_rand random_;
  bool complete_ = false;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed), runner_(fake_options()), planner_(runner_.limits(), runner_.pages(), {}) {
    for (Token t = 0; t < static_cast<Token>(kPublishedTokens); ++t) common_.push_back(t + 7);
    planner_.publish(common_, AdapterId::kNone);
    const int64_t num_tenants = pick(1, 6);
    for (int64_t t = 0; t < num_tenants; ++t) {
      TenantPolicy policy{.weight = static_cast<double>(pick(1, 4))};
      if (chance(30)) policy.max_running = pick(1, 4);
      if (chance(30)) policy.max_pages = pick(4, runner_.pages().num_pages());
      policies_[TenantId{t}] = policy;
      planner_.set_policy(TenantId{t}, policy);
    }
  }

  void run(int64_t steps) {
    arrivals_ = static_cast<int>(pick(2, 40));
    for (int64_t i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      now_ += 0.01;
      if (known_.size() < 60 && chance(arrivals_)) arrive();
      if (chance(2)) with_random([&](RequestId id) { planner_.end(id, FinishReason::kCancelled); });
      if (chance(2)) with_random([&](RequestId id) { planner_.pause(id, true); });
      if (chance(10)) with_random([&](RequestId id) { planner_.pause(id, false); });
      if (chance(1)) change_weight();
      if (chance(1)) {
        planner_.unpublish(common_, AdapterId::kNone);
        planner_.publish(common_, AdapterId::kNone);
      }
      step();
    }
    for (const auto& [id, request] : known_) planner_.pause(id, false);
    arrivals_ = 0;
    // Without arrivals everything ends: nobody waits for ever.
    for (int64_t i = 0; i < 20'000 && !known_.empty() && !testing::Test::HasFailure(); ++i) step();
    EXPECT_TRUE(known_.empty());
    check_totals();
    EXPECT_EQ(runner_.pages().num_pages() - runner_.pages().pages_free(),
              planner_.cache().count_unshared_pages());
    EXPECT_EQ(planner_.cache().num_unused() + planner_.cache().num_stored(),
              planner_.cache().num_nodes());
  }

  int64_t preemptions() const { return preemptions_; }
  int64_t hits() const { return hits_; }
  int64_t brought_back() const { return brought_back_; }
  int64_t published_uses() const { return published_uses_; }
  int64_t ended(FinishReason reason) const { return ended_[static_cast<size_t>(reason)]; }

 private:
  struct Known {
    LiveRequest* live;
    bool cursed;
    std::vector<Token> seen = {};
  };

  int64_t pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  bool chance(int percent) { return pick(1, 100) <= percent; }

  FakeOptions fake_options() {
    const int64_t sequences = pick(1, 12);
    return {.limits = {.context = pick(100, 300),
                       .max_step_tokens = pick(sequences, 96),
                       .max_sequences = sequences,
                       .max_sampled = sequences,
                       .vocab_size = kVocab,
                       .host_pages = static_cast<int32_t>(chance(60) ? pick(1, 40) : 0)},
            .num_pages = static_cast<int32_t>(pick(10, 60)),
            .before_step = [this](std::span<const StepWork> work) { return begins(work); },
            .after_step = [this](std::span<const StepWork> work) { return results(work); }};
  }

  Status begins(std::span<const StepWork> work) { return faults_late_ ? Status() : fault(work); }
  Status results(std::span<const StepWork> work) { return faults_late_ ? fault(work) : Status(); }

  Status fault(std::span<const StepWork> work) {
    for (const StepWork& piece : work) {
      const std::vector<Token>& before = piece.sequence->tokens();
      const Token first = before.empty() ? piece.tokens[0] : before[0];
      if (first == kCursed) return Error{ErrorCode::kBadModel, "cursed"};
    }
    if (work.size() > 1 && chance(1)) return Error{ErrorCode::kBadModel, "a passing fault"};
    return {};
  }

  void arrive() {
    Request request{.tenant = TenantId{pick(0, static_cast<int64_t>(policies_.size()) - 1)}};
    if (chance(50)) request.prompt.assign(common_.begin(), common_.begin() + pick(1, 70));
    const int64_t more = chance(20) ? pick(1, 200) : pick(1, 40);
    const bool repetitive = chance(50);  // prompts of which many are the same
    for (int64_t i = 0; i < more; ++i) {
      request.prompt.push_back(static_cast<Token>(repetitive ? i % 5 : pick(0, kCursed - 1)));
    }
    if (chance(1)) request.prompt.front() = kCursed;
    request.max_tokens = chance(5) ? 0 : chance(10) ? -1 : pick(1, 80);
    request.sampling.seed = static_cast<uint64_t>(pick(0, 3));
    if (chance(50)) request.stop_tokens = {static_cast<Token>(pick(0, 40))};
    if (chance(20)) request.cache_salt = "salt";
    request.cache_prompt = !chance(10);
    if (chance(constrained_)) request.constraint = std::make_unique<MoodyConstraint>(random_());
    request.priority = static_cast<Priority>(pick(-1, 1));
    const TenantPolicy& policy = policies_[request.tenant];
    const bool cursed = request.prompt.front() == kCursed;
    const Status fits =
        Planner::check(request, runner_.limits(), runner_.pages().num_pages(), policy);
    if (!fits.ok()) {
      EXPECT_EQ(fits.error().code, ErrorCode::kInvalidArgument);
      return;
    }
    auto live = std::make_unique<LiveRequest>(RequestId{next_id_++}, std::move(request),
                                              std::make_shared<NoSink>(), runner_.pages());
    live->submitted_at = now_;
    if (chance(5)) live->deadline = now_ + static_cast<double>(pick(1, 200)) * 0.01;
    known_[live->id] = {live.get(), cursed};
    ++accepted_;
    planner_.add(std::move(live));
  }

  void change_weight() {
    const TenantId tenant{pick(0, static_cast<int64_t>(policies_.size()) - 1)};
    policies_[tenant].weight = static_cast<double>(pick(1, 4));
    planner_.set_policy(tenant, policies_[tenant]);
  }

  template <typename Use>
  void with_random(Use use) {
    if (known_.empty()) return;
    auto it = known_.begin();
    std::advance(it, pick(0, static_cast<int64_t>(known_.size()) - 1));
    use(it->first);
  }

  void step() {
    planner_.advance(now_);
    const StepPlan& plan = planner_.plan(pace_);
    check_plan(plan);
    note_written_pages(plan);
    placed_.clear();
    for (const LiveRequest* request : planner_.running()) placed_.insert(request->id);
    check_pages();
    if (!plan.work.empty()) {
      std::vector<StepOutput>& outputs = outputs_[turn_ ^= 1];
      ASSERT_TRUE(run_plan(runner_, planner_, plan, outputs, [this] { use_time(); }).ok());
      show_late_ones();  // a step that had to be run again did not
      planner_.commit(outputs, now_ + 0.005);
      if (shows_late_) late_ = planner_.take_tokens_of_streams();
      show(planner_.tokens());
      planner_.conclude();
    } else {
      show_late_ones();
      planner_.conclude();
    }
    for (auto& request : planner_.take_ended()) check_end(*request);
    check_pages();
  }

  void show(std::span<PlannedToken> tokens) {
    for (PlannedToken& token : tokens) {
      Known& known = known_.at(token.request->id);
      ASSERT_EQ(static_cast<size_t>(token.index), known.seen.size());
      known.seen.push_back(token.sampled->token);
      token.stop = chance(1);
    }
  }

  // Of the step before, while another runs, as the scheduler does on a device.
  void show_late_ones() {
    show(late_);
    for (const PlannedToken& token : late_) {
      if (token.stop) planner_.stop(*token.request);
    }
    late_.clear();
  }

  // What the scheduler does while a device runs the step.
  void use_time() {
    show_late_ones();
    if (!plans_ahead_) return;
    if (arrivals_ > 0 && known_.size() < 60 && chance(arrivals_)) arrive();
    planner_.plan_ahead(pace_);
  }

  void check_plan(const StepPlan& plan) {
    const RunnerLimits& limits = runner_.limits();
    int64_t tokens = 0;
    for (size_t i = 0; i < plan.work.size(); ++i) {
      tokens += static_cast<int64_t>(plan.work[i].tokens.size());
      EXPECT_FALSE(plan.requests[i]->paused);
    }
    EXPECT_EQ(tokens, plan.streams + plan.prefill_tokens);
    EXPECT_LE(tokens, limits.max_step_tokens);
    EXPECT_LE(static_cast<int64_t>(plan.work.size()), limits.max_sequences);
    // Those whose constraint is not ready may be all that run, and have the others' places.
    const auto may_hesitate = [](const auto& entry) {
      return entry.second.live->request.constraint != nullptr;
    };
    if (!plan.work.empty() || std::any_of(known_.begin(), known_.end(), may_hesitate)) return;
    for (const auto& [id, known] : known_) {
      EXPECT_TRUE(known.live->paused || known.live->state == LiveRequest::State::kEnded)
          << "a deadlock";
    }
  }

  // Whose tokens a page holds. What is about to be written belongs to nobody else.
  void note_written_pages(const StepPlan& plan) {
    // Those of plans without work come again in the next one.
    for (const PageSwap& swap : std::span(plan.swaps).subspan(swaps_noted_)) {
      if (swap.out) {
        stored_[swap.slot] = writers_.at(swap.page);
      } else {
        writers_[swap.page] = stored_.at(swap.slot);
        ++brought_back_;
      }
    }
    swaps_noted_ = plan.work.empty() ? plan.swaps.size() : 0;
    for (size_t i = 0; i < plan.work.size(); ++i) {
      const LiveRequest& request = *plan.requests[i];
      const int64_t start = request.sequence.length();
      const int64_t end = start + static_cast<int64_t>(plan.work[i].tokens.size());
      for (auto page = static_cast<size_t>(start / kPageTokens);
           static_cast<int64_t>(page) * kPageTokens < end; ++page) {
        const PageId id = request.sequence.pages()[page];
        const auto& nodes = request.path.nodes;
        const bool cached = page < nodes.size() && nodes[page]->page == id;
        EXPECT_EQ(runner_.pages().references(id), cached ? 2 : 1);
        EXPECT_TRUE(!cached || nodes[page]->pending == request.id);
        writers_[id] = request.request.tenant;
      }
    }
  }

  void check_pages() {
    const PagePool& pool = runner_.pages();
    std::set<PageId> used;
    std::map<TenantId, int64_t> pages, running;
    for (const LiveRequest* request : planner_.running()) {
      if (request->state != LiveRequest::State::kRunning) continue;
      const TenantId tenant = request->request.tenant;
      ++running[tenant];
      const auto held = request->sequence.pages();
      pages[tenant] += static_cast<int64_t>(held.size());
      used.insert(held.begin(), held.end());
      const int64_t filled = request->sequence.length() / kPageTokens;
      for (int64_t i = 0; i < filled; ++i) {
        // Pages of a request that was started ahead may still be on their way back.
        if (placed_.count(request->id) == 0) break;
        if (writers_.at(held[static_cast<size_t>(i)]) == tenant) continue;
        const auto end = static_cast<size_t>((i + 1) * kPageTokens);
        ++published_uses_;
        ASSERT_LE(end, kPublishedTokens) << "a page of another tenant that is not published";
        ASSERT_TRUE(std::equal(common_.begin(), common_.begin() + static_cast<int64_t>(end),
                               request->tokens.begin()));
      }
    }
    EXPECT_EQ(static_cast<int64_t>(used.size()) + pool.pages_free() +
                  planner_.cache().count_unshared_pages(),
              pool.num_pages());
    for (const auto& [id, policy] : policies_) {
      const Tenant* tenant = planner_.find_tenant(id);
      EXPECT_EQ(tenant->pages, pages[id]);
      EXPECT_EQ(tenant->running, running[id]);
      EXPECT_LE(pages[id], policy.max_pages);
      EXPECT_LE(running[id], policy.max_running);
    }
  }

  void check_end(const LiveRequest& request) {
    const auto found = known_.find(request.id);
    ASSERT_NE(found, known_.end()) << "ended twice";
    const Known& known = found->second;
    const Outcome& outcome = request.outcome;
    EXPECT_EQ(outcome.prompt_tokens, request.prompt_tokens);
    EXPECT_LT(outcome.cached_tokens, outcome.prompt_tokens);
    EXPECT_EQ(outcome.generated_tokens,
              static_cast<int64_t>(known.seen.size()) + (outcome.stop_token ? 1 : 0));
    EXPECT_GE(outcome.queue_seconds, 0);
    EXPECT_GE(outcome.prefill_seconds, 0);
    EXPECT_GE(outcome.decode_seconds, 0);
    EXPECT_EQ(outcome.finish == FinishReason::kError, outcome.error.has_value());
    EXPECT_TRUE(known.cursed || outcome.finish != FinishReason::kError);
    EXPECT_TRUE(!known.cursed || known.seen.empty());
    if (outcome.finish == FinishReason::kLength) {
      EXPECT_EQ(outcome.generated_tokens, request.request.max_tokens);
    }
    // The very tokens this prompt gives alone, whatever ran beside it and however often it was
    // preempted.
    std::vector<Token> alone(request.tokens.begin(),
                             request.tokens.begin() + request.prompt_tokens);
    for (const Token token : known.seen) {
      ASSERT_EQ(token, runner_.next_token(alone, request.sampler));
      alone.push_back(token);
    }
    if (outcome.stop_token) {
      EXPECT_EQ(*outcome.stop_token, runner_.next_token(alone, request.sampler));
    }
    Usage& usage = usage_[request.request.tenant];
    if (request.started) usage.prompt += outcome.prompt_tokens;
    usage.cached += outcome.cached_tokens;
    usage.generated += outcome.generated_tokens;
    preemptions_ += outcome.preemptions;
    hits_ += outcome.cached_tokens;
    ++ended_[static_cast<size_t>(outcome.finish)];
    known_.erase(found);
  }

  void check_totals() {
    SchedulerStats stats;
    planner_.fill(stats);
    EXPECT_EQ(stats.running + stats.waiting, 0);
    EXPECT_EQ(stats.pages_used, 0);
    int64_t num_ended = 0;
    for (const TenantStats& row : stats.tenants) {
      const Usage& usage = usage_[row.tenant];
      EXPECT_EQ(row.prompt_tokens, usage.prompt);
      EXPECT_EQ(row.cached_tokens, usage.cached);
      EXPECT_EQ(row.generated_tokens, usage.generated);
      for (const int64_t count : row.finished) num_ended += count;
    }
    EXPECT_EQ(num_ended, accepted_);
    EXPECT_EQ(stats.total().preemptions, preemptions_);
  }

  struct Usage {
    int64_t prompt = 0, cached = 0, generated = 0;
  };

  std::mt19937_64 random_;
  const bool faults_late_ = chance(50);
  FakeRunner runner_;
  Planner planner_;
  const StepPace pace_{std::numeric_limits<double>::infinity()};
  std::vector<Token> common_;
  std::map<TenantId, TenantPolicy> policies_;
  std::map<RequestId, Known> known_;  // accepted and not yet ended
  std::map<PageId, TenantId> writers_;
  std::map<int32_t, TenantId> stored_;  // writers of what lies in slots
  size_t swaps_noted_ = 0;
  std::set<RequestId> placed_;  // that ran when the last plan was made
  std::map<TenantId, Usage> usage_;
  std::vector<StepOutput> outputs_[2];
  size_t turn_ = 0;
  const bool shows_late_ = chance(50);
  const bool plans_ahead_ = shows_late_ && chance(70);
  std::vector<PlannedToken> late_;
  std::array<int64_t, kNumFinishReasons> ended_ = {};
  const int constrained_ = chance(40) ? 20 : 0;  // in percent of requests
  int arrivals_ = 0;                             // in percent of steps
  uint64_t next_id_ = 1;
  double now_ = 0;
  int64_t accepted_ = 0, preemptions_ = 0, hits_ = 0, published_uses_ = 0, brought_back_ = 0;
};

TEST(Simulation, HoldsEveryInvariant) {
  constexpr int64_t kStepsEach = 2000;
  const int64_t steps = setting("REALM_SIMULATION_STEPS", 100'000);
  const int64_t first = setting("REALM_SIMULATION_SEED", 0);
  int64_t preemptions = 0, hits = 0, published = 0, brought_back = 0;
  std::array<int64_t, kNumFinishReasons> ended = {};
  for (int64_t seed = first; (seed - first) * kStepsEach < steps && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(static_cast<uint64_t>(seed));
    simulation.run(kStepsEach);
    preemptions += simulation.preemptions();
    hits += simulation.hits();
    brought_back += simulation.brought_back();
    published += simulation.published_uses();
    for (size_t i = 0; i < ended.size(); ++i) {
      ended[i] += simulation.ended(static_cast<FinishReason>(i));
    }
  }
  // It has met what it is there to meet.
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(hits, 1000);
  EXPECT_GT(brought_back, 100);
  EXPECT_GT(published, 100);
  for (size_t i = 0; i < ended.size(); ++i) {
    EXPECT_GT(ended[i], 10) << finish_reason_name(static_cast<FinishReason>(i));
  }
}

}  // namespace
}  // namespace realm
