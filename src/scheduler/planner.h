// Decides what each step runs. `plan` and `commit` are functions of the state alone: time comes in
// as a number, the device not at all, so that the simulator can run them for millions of steps.
// The scheduler's thread is the one caller: advance, plan, run the step, commit, show the tokens to
// their readers, conclude. Tokens of streams may be shown while the next step runs, and the one
// after it planned (plan_ahead).
//
// The rules. Running streams go first, one token each; what they leave of the step goes to prompts,
// least-served tenant first. Requests start in order of their tenants' virtual token counters
// (Sheng et al., "Fairness in Serving Large Language Models", 2024): each tenant is charged for
// what it gets, by weight, and the one charged least is next; a tenant that comes back from idling
// is lifted to the least of those waiting, so that nobody saves up. A request starts when all pages
// of its prompt can be had at once, and while the next in order does not fit no other overtakes it:
// nobody starves. When pages run out, the most-served tenant's latest request gives back its pages
// and waits to be recomputed (its full pages usually are still in the prefix cache); a tenant that
// holds less than its share of slots or pages takes from those above theirs in the same way.
//
// Counters alone would let a tenant that sends a little wait behind its own last prompt beside one
// that sends all it can: the counter is lifted when it comes back and charged ahead. So a tenant
// that was served less than half as much of late as another is light: it may be ahead in service by
// `burst` (which bounds what it can gain), and for the first second of its prompts the other's
// streams sit out.
// Recomputing is a look-up for what is still in the prefix cache. What is not went to the host's
// memory where the runner has some and copying a page out and in takes less time than computing it,
// as measured; so pages are swapped by the cache, for whoever meets them again.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "scheduler/live_request.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/stats.h"
#include "scheduler/step_pace.h"
#include "scheduler/step_runner.h"
#include "scheduler/tenant.h"

namespace realm {

struct PlannerOptions {
  bool prefix_cache = true;
  TenantPolicy default_policy = {};
  // Cost of a token in a tenant's counter. A prompt's tokens share the weights' reads with each
  // other; a generated one needs a step of its own.
  double prompt_token_cost = 1;
  double generated_token_cost = 2;
  // A class of priority is worth so many seconds of waiting.
  double aging_seconds = 10;
  // What a light tenant may be ahead of the others in service, in cost. 0: nothing, and its prompts
  // are as others'.
  double burst = 4096;
};

struct StepPlan {
  std::vector<StepWork> work;
  std::vector<LiveRequest*> requests;  // of the work, in the same order
  std::vector<int64_t> begins;         // its tokens' places in their sequences
  std::vector<LiveRequest*> started;   // for the first time
  std::vector<PageSwap> swaps;         // to be done before the work, in this order
  int64_t streams = 0;                 // running streams' tokens
  int64_t prefill_tokens = 0;
};

// A token that a request got.
struct PlannedToken {
  LiveRequest* request;
  const Sampled* sampled;  // in the outputs given to commit()
  int64_t index;
  bool stop = false;  // set by whoever reads it: the request shall end here
};

class Planner {
 public:
  // `pool` outlives the planner.
  Planner(const RunnerLimits& limits, PagePool& pool, const PlannerOptions& options);
  ~Planner();

  // Why this request can never run, if so. Reads nothing that changes but the policy handed in.
  static Status check(const Request& request, const RunnerLimits& limits, int32_t num_pages,
                      const TenantPolicy& policy);

  // Time goes on to `now` (seconds from any fixed point); requests past their deadline end. Not
  // between plan and commit.
  void advance(double now);
  // Its submitted_at and deadline are set.
  void add(std::unique_ptr<LiveRequest> request);
  void end(RequestId id, FinishReason reason);
  void end_all(FinishReason reason, const std::optional<Error>& error);
  void pause(RequestId id, bool paused);
  void set_policy(TenantId tenant, const TenantPolicy& policy);
  void publish(std::vector<Token> prefix, AdapterId adapter);
  void unpublish(std::span<const Token> prefix, AdapterId adapter);

  // The next step, with its pages reserved; valid until commit(). Empty where nobody can run.
  const StepPlan& plan(const StepPace& pace);
  // Most of what the next plan() does, while the step that plan() gave runs: once, when its work is
  // in its sequences and before commit(). Takes nothing from anybody: where it would have to,
  // plan() does it all.
  void plan_ahead(const StepPace& pace);
  // Before the step runs a second time: what it may have left behind is forgotten.
  void rewind();
  // `out`: one entry for each piece of the plan's work; the step was done at `now`.
  void commit(std::span<const StepOutput> out, double now);

  // Of the last commit.
  std::span<PlannedToken> tokens() { return tokens_; }
  // Those of them after which their requests go on, for who shows them while the next step runs;
  // tokens() keeps the others.
  std::vector<PlannedToken> take_tokens_of_streams();
  // The reader of such a token wants no more: what the running step makes is not the request's.
  void stop(LiveRequest& request);
  // Ends the requests that are complete or whose reader wants no more.
  void conclude();
  bool has_stopped() const { return !stopped_.empty(); }  // some wait for that
  // The requests that ended since the last call: their pages are free, their outcomes final.
  std::vector<std::unique_ptr<LiveRequest>> take_ended();
  // Tenants of the requests that started or ended in the queue since the last call, one entry each.
  std::vector<TenantId> take_left_queue() { return std::exchange(left_queue_, {}); }

  double now() const { return now_; }
  double next_deadline() const;  // infinity: none
  int64_t num_requests() const { return static_cast<int64_t>(requests_.size()); }
  int64_t num_running() const { return num_running_; }
  const PrefixCache& cache() const { return cache_; }
  // For the simulator's checks.
  std::span<LiveRequest* const> running() const { return running_; }
  const Tenant* find_tenant(TenantId id) const;
  // All but what only the thread knows (times, faults).
  void fill(SchedulerStats& stats) const;

 private:
  // A tenant served this many times less of late than another is light.
  static constexpr double kLightPart = 2;
  enum class Start { kDone, kLater, kTenantFull, kNoRoom };

  Tenant& tenant(TenantId id);
  void lift(Tenant& tenant);
  void charge(Tenant& tenant, double cost) {
    tenant.service += cost / tenant.policy.weight;
    tenant.recent += cost / tenant.policy.weight * recency_;
  }
  void find_light_tenants();
  // The service by which tenants stand in line.
  double standing(const Tenant& tenant) const {
    return tenant.service - (tenant.is_light ? options_.burst / tenant.policy.weight : 0);
  }
  void leave_waiting(LiveRequest& request);
  void enter_waiting(LiveRequest& request);
  void leave_running(LiveRequest& request, bool keep_computed);
  void finish(LiveRequest& request, FinishReason reason, std::optional<Error> error = {});
  void preempt(LiveRequest& request);
  void count_pages(LiveRequest& request);
  void drop_ended_from_running();

  void grow_streams();
  LiveRequest* paused_of(const Tenant* only) const;
  LiveRequest* page_victim(const Tenant* only) const;

  void start_requests();
  Tenant* next_tenant() const;
  LiveRequest* next_request(Tenant& tenant);
  bool is_computing(const LiveRequest::Computing& computing) const;
  Start try_start(LiveRequest& request);
  bool make_slot(Tenant& taker);
  bool make_pages(LiveRequest& request, int64_t needed, int64_t missing);
  bool has_room(int64_t pages) const;
  LiveRequest* displaced_by(const Tenant& taker, int64_t Tenant::*resource, int64_t amount,
                            int64_t total) const;
  void displace(LiveRequest& request);
  PrefixCache::Match cached_prefix(const LiveRequest& request) const;
  void hold_prefix(LiveRequest& request, const PrefixCache::Match& match);
  void start(LiveRequest& request, int64_t shared_pages);
  bool uses_cache(const LiveRequest& request) const;
  int64_t max_pages(const Tenant& tenant) const;
  int64_t published_pages(const LiveRequest& request) const;
  PrefixCache::Space space_of(const LiveRequest& request) const;

  void begin_plan();
  void expect_token(LiveRequest& request);
  bool ends_surely(const LiveRequest& request) const;
  // Whether a running request may lose its place: not while it runs.
  bool may_preempt() {
    lacks_victim_ |= is_ahead_;
    return !is_ahead_;
  }
  void fill_plan(const StepPace& pace);
  void fill_work(const StepPace& pace);
  bool may_rush(const LiveRequest& request) const;
  void add_work(LiveRequest& request, int64_t count, bool is_stream);
  void drop_piece(LiveRequest& request, size_t turn);
  void close_gaps(StepPlan& plan);
  void keep_computed_pages(LiveRequest& request);
  void take_token(LiveRequest& request, const Sampled& sampled);

  const RunnerLimits limits_;
  PagePool& pool_;
  const PlannerOptions options_;
  const int64_t max_running_;
  PrefixCache cache_;
  double now_ = 0;

  std::unordered_map<RequestId, std::unique_ptr<LiveRequest>> requests_;
  std::unordered_map<TenantId, std::unique_ptr<Tenant>> tenants_;
  std::vector<Tenant*> active_;           // with waiting or running requests
  const Tenant* last_waiting_ = nullptr;  // the last tenant whose queue became empty
  // What service now counts in Tenant::recent: it grows with time instead of the sums shrinking.
  double recency_ = 1, recency_epoch_ = 0;
  std::vector<LiveRequest*> running_;  // in order of start; may hold ended ones within a call
  int64_t num_running_ = 0;
  int64_t num_paused_ = 0;  // of the running ones, when the plan began
  std::set<std::pair<double, RequestId>> deadlines_;
  std::vector<std::pair<AdapterId, std::vector<Token>>> published_;

  // The one that runs, or was the last to, and the one that is being made.
  StepPlan plans_[2];
  size_t turn_ = 0, making_ = 0;
  bool is_begun_ = false;      // there is one being made
  bool is_ahead_ = false;      // just now, while the other runs
  bool has_gaps_ = false;      // pieces of it were dropped
  bool refill_ = false;        // it has to be looked through once more
  bool may_start_ = false;     // since then somebody came, or left room
  bool lacks_victim_ = false;  // it could not be completed ahead of time
  bool leaves_out_ = false;    // a request whose constraint is not ready, and may be any time
  bool omits_ = false;         // somebody could run but for others in it
  int64_t num_started_ = 0;    // of late
  uint64_t plan_number_ = 0, fill_number_ = 0;
  std::vector<LiveRequest*> streams_, prefills_;
  std::vector<PlannedToken> tokens_;
  std::vector<LiveRequest*> stopped_;  // by their readers, to be concluded
  std::vector<std::unique_ptr<LiveRequest>> ended_;
  std::vector<TenantId> left_queue_;
  int64_t steps_ = 0, step_tokens_ = 0, step_sampled_ = 0, recomputed_tokens_ = 0;
  int64_t prefix_queries_ = 0, prefix_hits_ = 0;
  int64_t pages_stored_ = 0, pages_brought_back_ = 0;
};

// Runs a plan's step. One that fails as a whole is run again one sequence at a time, so that only
// the culprit ends with the error. `meanwhile`: StepRunner's; a step that fails may not have called
// it. Errors: kUnavailable alone; nothing is to be committed then.
Status run_plan(StepRunner& runner, Planner& planner, const StepPlan& plan,
                std::vector<StepOutput>& out, const StepRunner::Meanwhile& meanwhile = {});

}  // namespace realm
