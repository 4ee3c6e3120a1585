#include "scheduler/scheduler.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "scheduler/planner.h"

namespace realm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kNewestEnd = 0.1;  // weight of the last interval between two ends
constexpr int64_t kRetrySecondsMax = 60;

}  // namespace

// Two locks, never held together: the inbox's, for what clients hand over and the counts that admit
// or refuse them, and the planner's, which the thread takes around planning and committing and
// stats() to look. Neither is held while a sink is called or the thread waits for a step.
class Scheduler::Loop {
 public:
  Loop(std::unique_ptr<StepRunner> runner, SchedulerOptions options)
      : runner_(std::move(runner)),
        options_(std::move(options)),
        planner_(
            runner_->limits(), runner_->pages(),
            {.prefix_cache = options_.prefix_cache, .default_policy = options_.default_policy}),
        num_pages_(runner_->pages().num_pages()),
        pace_(options_.max_step_stretch, options_.step_floor_seconds),
        thread_([this] { run(); }) {}

  ~Loop() { stop(); }

  Result<RequestId> submit(Request request, std::shared_ptr<Sink> sink);
  void post(std::function<void(Planner&)> change);
  std::chrono::seconds retry_after() const;
  void set_policy(TenantId tenant, const TenantPolicy& policy);
  bool drain(std::chrono::milliseconds timeout);
  void stop();
  SchedulerStats stats() const;
  bool is_broken() const;
  const RunnerLimits& limits() const { return runner_->limits(); }

 private:
  // What a tenant may and does have in the queue.
  struct Gate {
    TenantPolicy policy;
    int64_t queued = 0;
  };

  double seconds(Clock::time_point time) const {
    return std::chrono::duration<double>(time - start_).count();
  }
  double now() const { return seconds(Clock::now()); }
  Gate& gate(TenantId tenant);
  Status admits(TenantId tenant);

  void run();
  void plan_ahead();
  bool read_inbox(bool wait, double until);
  bool plan_step(bool ending);
  void run_step();
  void note_fault(const Error& error);
  void deliver();
  void deliver_starts();
  void deliver_tokens(std::span<PlannedToken> tokens);
  void deliver_ends();
  void settle_queue();

  const std::unique_ptr<StepRunner> runner_;
  const SchedulerOptions options_;
  const Clock::time_point start_ = Clock::now();

  mutable std::mutex inbox_mutex_;
  std::condition_variable inbox_filled_;
  std::condition_variable request_ended_;
  std::vector<std::unique_ptr<LiveRequest>> submitted_;
  std::vector<std::function<void(Planner&)>> changes_;
  std::unordered_map<TenantId, Gate> gates_;
  uint64_t next_id_ = 1;
  int64_t queued_ = 0;  // accepted and not yet started
  int64_t live_ = 0;    // accepted and not yet ended
  bool accepting_ = true;
  bool stopping_ = false;
  std::optional<Error> fault_;
  double last_end_ = 0, seconds_per_end_ = 0;

  mutable std::mutex planner_mutex_;
  Planner planner_;
  double step_seconds_ = 0, scheduler_seconds_ = 0;

  // The thread's own.
  const int32_t num_pages_;
  StepPace pace_;
  const StepPlan* plan_ = nullptr;
  // Of this step and the one before, whose tokens may still have to be delivered.
  std::vector<StepOutput> outputs_[2];
  size_t turn_ = 0;
  std::vector<PlannedToken> undelivered_;
  std::vector<std::unique_ptr<LiveRequest>> ended_;
  std::optional<Error> new_fault_;
  std::vector<std::unique_ptr<LiveRequest>> arrived_;
  std::vector<std::function<void(Planner&)>> arrived_changes_;

  std::mutex join_mutex_;
  std::thread thread_;  // last: it uses all of the above
};

// --- Called by clients ---

Scheduler::Loop::Gate& Scheduler::Loop::gate(TenantId tenant) {
  return gates_.try_emplace(tenant, Gate{.policy = options_.default_policy}).first->second;
}

// Requires the inbox's lock.
Status Scheduler::Loop::admits(TenantId tenant) {
  if (fault_) return Error{ErrorCode::kUnavailable, fault_->message};
  if (!accepting_) return Error{ErrorCode::kUnavailable, "shutting down: no new requests"};
  const Gate& entry = gate(tenant);
  if (queued_ >= options_.max_queued) {
    return Error{ErrorCode::kExhausted, "overloaded: " + std::to_string(queued_) +
                                            " requests are waiting; try again later"};
  }
  if (entry.queued >= entry.policy.max_queued) {
    return Error{ErrorCode::kExhausted, "this account has " + std::to_string(entry.queued) +
                                            " requests waiting already; try again later"};
  }
  return {};
}

Result<RequestId> Scheduler::Loop::submit(Request request, std::shared_ptr<Sink> sink) {
  CHECK(sink != nullptr);
  const TenantId tenant = request.tenant;
  TenantPolicy policy;
  RequestId id;
  {
    std::lock_guard lock(inbox_mutex_);
    TRY(admits(tenant));
    policy = gate(tenant).policy;
    id = RequestId{next_id_++};
  }
  TRY(Planner::check(request, runner_->limits(), num_pages_, policy));
  if (!runner_->has_adapter(request.adapter)) {
    return Error{ErrorCode::kNotFound, "the adapter is not loaded"};
  }
  const auto deadline = request.deadline;
  auto live =
      std::make_unique<LiveRequest>(id, std::move(request), std::move(sink), runner_->pages());
  live->submitted_at = now();
  if (deadline) live->deadline = std::max(seconds(*deadline), 1e-9);
  {
    std::lock_guard lock(inbox_mutex_);
    TRY(admits(tenant));  // others may have come meanwhile
    ++queued_;
    ++live_;
    ++gate(tenant).queued;
    submitted_.push_back(std::move(live));
  }
  inbox_filled_.notify_one();
  return id;
}

void Scheduler::Loop::post(std::function<void(Planner&)> change) {
  {
    std::lock_guard lock(inbox_mutex_);
    if (stopping_) return;
    changes_.push_back(std::move(change));
  }
  inbox_filled_.notify_one();
}

void Scheduler::Loop::set_policy(TenantId tenant, const TenantPolicy& policy) {
  {
    std::lock_guard lock(inbox_mutex_);
    gate(tenant).policy = policy;
  }
  post([tenant, policy](Planner& planner) { planner.set_policy(tenant, policy); });
}

std::chrono::seconds Scheduler::Loop::retry_after() const {
  std::lock_guard lock(inbox_mutex_);
  // Half the queue gone: room, and not only for the first who asks.
  const double wait = seconds_per_end_ * static_cast<double>(queued_) / 2;
  return std::chrono::seconds(
      std::clamp<int64_t>(static_cast<int64_t>(std::ceil(wait)), 1, kRetrySecondsMax));
}

bool Scheduler::Loop::drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(inbox_mutex_);
  accepting_ = false;
  return request_ended_.wait_for(lock, timeout, [&] { return live_ == 0; });
}

void Scheduler::Loop::stop() {
  {
    std::lock_guard lock(inbox_mutex_);
    accepting_ = false;
    stopping_ = true;
  }
  inbox_filled_.notify_one();
  std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

SchedulerStats Scheduler::Loop::stats() const {
  SchedulerStats stats;
  {
    std::lock_guard lock(planner_mutex_);
    planner_.fill(stats);
    stats.step_seconds = step_seconds_;
    stats.scheduler_seconds = scheduler_seconds_;
  }
  std::lock_guard lock(inbox_mutex_);
  stats.accepting = accepting_ && !fault_;
  stats.fault = fault_;
  // Those still in the inbox wait too.
  stats.waiting = std::max(stats.waiting, live_ - stats.running);
  return stats;
}

bool Scheduler::Loop::is_broken() const {
  std::lock_guard lock(inbox_mutex_);
  return fault_.has_value();
}

// --- The thread ---

void Scheduler::Loop::run() {
  bool idle = true;
  double deadline = std::numeric_limits<double>::infinity();
  for (;;) {
    const bool ending = read_inbox(idle, deadline);
    const bool has_work = plan_step(ending);
    if (ending || !has_work || !runner_->runs_ahead()) deliver();
    if (ending) break;
    idle = !has_work && !planner_.has_stopped();
    if (has_work) {
      run_step();
    } else {
      deadline = planner_.next_deadline();
    }
  }
}

// Takes what clients handed over; waits for it where there is nothing to run. Whether to stop.
bool Scheduler::Loop::read_inbox(bool wait, double until) {
  std::unique_lock lock(inbox_mutex_);
  const auto filled = [&] { return stopping_ || !submitted_.empty() || !changes_.empty(); };
  if (wait && std::isinf(until)) {
    inbox_filled_.wait(lock, filled);
  } else if (wait) {
    inbox_filled_.wait_until(
        lock,
        start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(until)),
        filled);
  }
  arrived_.swap(submitted_);
  arrived_changes_.swap(changes_);
  return stopping_;
}

// Ends what the last step completed, takes in what arrived, plans. Whether there is anything to
// run.
bool Scheduler::Loop::plan_step(bool ending) {
  const double begin = now();
  std::lock_guard lock(planner_mutex_);
  planner_.conclude();
  planner_.advance(begin);
  if (new_fault_) planner_.end_all(FinishReason::kError, new_fault_);
  for (auto& request : arrived_) planner_.add(std::move(request));
  for (auto& change : arrived_changes_) change(planner_);
  arrived_.clear();
  arrived_changes_.clear();
  if (new_fault_) planner_.end_all(FinishReason::kError, new_fault_);
  if (ending) planner_.end_all(FinishReason::kCancelled, {});
  plan_ = &planner_.plan(pace_);
  ended_ = planner_.take_ended();
  scheduler_seconds_ += now() - begin;
  return !plan_->work.empty();
}

// Where the runner runs ahead, what there is to tell of the step before is told while this one
// runs, and the next is planned. A request's last token goes out first even then, since how it
// ended may depend on its reader.
void Scheduler::Loop::run_step() {
  const double begin = now();
  bool delivered = !runner_->runs_ahead();
  std::vector<StepOutput>& outputs = outputs_[turn_ ^= 1];
  const Status status = run_plan(*runner_, planner_, *plan_, outputs, [&] {
    if (std::exchange(delivered, true)) return;
    deliver();
    plan_ahead();
  });
  if (!delivered) deliver();
  if (!status.ok()) note_fault(status.error());
  const double end = now();
  if (status.ok()) pace_.observe(plan_->streams, plan_->prefill_tokens, end - begin);
  {
    std::lock_guard lock(planner_mutex_);
    step_seconds_ += end - begin;
    if (new_fault_) {
      planner_.conclude();  // those whose readers had enough before
      planner_.end_all(FinishReason::kError, new_fault_);
    } else {
      planner_.commit(outputs, end);
      if (runner_->runs_ahead()) undelivered_ = planner_.take_tokens_of_streams();
    }
    scheduler_seconds_ += now() - end;
  }
  deliver_tokens(planner_.tokens());
}

// With those who have come by now; what else clients want is done between steps.
void Scheduler::Loop::plan_ahead() {
  {
    std::lock_guard lock(inbox_mutex_);
    if (changes_.empty()) arrived_.swap(submitted_);  // in the order in which clients made them
  }
  const double begin = now();
  std::lock_guard lock(planner_mutex_);
  for (auto& request : arrived_) planner_.add(std::move(request));
  arrived_.clear();
  planner_.plan_ahead(pace_);
  scheduler_seconds_ += now() - begin;
}

// Nobody is admitted from here on, and whoever asks why a request ended is told the engine.
void Scheduler::Loop::note_fault(const Error& error) {
  new_fault_ = error;
  spdlog::error("the engine is broken, its requests fail from now on: {}", error.message);
  std::lock_guard lock(inbox_mutex_);
  if (!fault_) fault_ = error;
}

void Scheduler::Loop::deliver() {
  deliver_tokens(undelivered_);
  {
    std::lock_guard lock(planner_mutex_);
    for (const PlannedToken& token : undelivered_) {
      if (token.stop) planner_.stop(*token.request);
    }
  }
  undelivered_.clear();
  deliver_starts();
  deliver_ends();
  settle_queue();
  if (options_.on_step_end) options_.on_step_end();
}

void Scheduler::Loop::deliver_starts() {
  for (LiveRequest* request : plan_->started) {
    request->sink->on_start({.prompt_tokens = request->prompt_tokens,
                             .cached_tokens = request->outcome.cached_tokens,
                             .queue_seconds = request->started_at - request->submitted_at});
  }
}

void Scheduler::Loop::deliver_tokens(std::span<PlannedToken> tokens) {
  if (tokens.empty()) return;
  const double begin = now();
  for (PlannedToken& token : tokens) {
    const TokenEvent event{.sampled = *token.sampled, .index = token.index};
    token.stop = !token.request->sink->on_token(event);
  }
  const double end = now();
  std::lock_guard lock(planner_mutex_);
  scheduler_seconds_ += end - begin;
}

void Scheduler::Loop::deliver_ends() {
  for (const auto& request : ended_) request->sink->on_end(request->outcome);
}

// Tells the admission counts what left the queue and what ended.
void Scheduler::Loop::settle_queue() {
  const std::vector<TenantId> left = planner_.take_left_queue();
  const auto num_ended = static_cast<int64_t>(ended_.size());
  if (left.empty() && num_ended == 0) return;
  ended_.clear();  // sinks are gone before drain() returns
  const double time = now();
  {
    std::lock_guard lock(inbox_mutex_);
    for (const TenantId tenant : left) --gate(tenant).queued;
    queued_ -= static_cast<int64_t>(left.size());
    live_ -= num_ended;
    if (num_ended > 0) {
      const double interval = (time - last_end_) / static_cast<double>(num_ended);
      seconds_per_end_ += kNewestEnd * (interval - seconds_per_end_);
      last_end_ = time;
    }
  }
  if (num_ended > 0) request_ended_.notify_all();
}

// --- The public face ---

Scheduler::Scheduler(std::unique_ptr<StepRunner> runner, SchedulerOptions options)
    : loop_(std::make_unique<Loop>(std::move(runner), std::move(options))) {}

Scheduler::~Scheduler() = default;

Result<RequestId> Scheduler::submit(Request request, std::shared_ptr<Sink> sink) {
  return loop_->submit(std::move(request), std::move(sink));
}

void Scheduler::cancel(RequestId id, FinishReason reason) {
  CHECK(reason == FinishReason::kCancelled || reason == FinishReason::kStop);
  loop_->post([id, reason](Planner& planner) { planner.end(id, reason); });
}

void Scheduler::pause(RequestId id, bool paused) {
  loop_->post([id, paused](Planner& planner) { planner.pause(id, paused); });
}

void Scheduler::wake() {
  loop_->post([](Planner&) {});
}

std::chrono::seconds Scheduler::retry_after() const {
  return loop_->retry_after();
}

void Scheduler::set_policy(TenantId tenant, const TenantPolicy& policy) {
  loop_->set_policy(tenant, policy);
}

void Scheduler::publish(std::span<const Token> prefix, AdapterId adapter) {
  loop_->post([tokens = std::vector<Token>(prefix.begin(), prefix.end()),
               adapter](Planner& planner) { planner.publish(tokens, adapter); });
}

void Scheduler::unpublish(std::span<const Token> prefix, AdapterId adapter) {
  loop_->post([tokens = std::vector<Token>(prefix.begin(), prefix.end()),
               adapter](Planner& planner) { planner.unpublish(tokens, adapter); });
}

bool Scheduler::drain(std::chrono::milliseconds timeout) {
  return loop_->drain(timeout);
}

void Scheduler::stop() {
  loop_->stop();
}

SchedulerStats Scheduler::stats() const {
  return loop_->stats();
}

bool Scheduler::is_broken() const {
  return loop_->is_broken();
}

const RunnerLimits& Scheduler::limits() const {
  return loop_->limits();
}

}  // namespace realm
