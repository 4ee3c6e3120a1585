// Runs many requests at once over one engine: owns the thread that is the only one to touch its
// sequences, pages and steps. Server and command line submit requests and receive events through
// their sinks; every method may be called from any thread. One scheduler per loaded model.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/tenant_id.h"
#include "scheduler/request.h"
#include "scheduler/stats.h"
#include "scheduler/step_runner.h"
#include "scheduler/tenant_policy.h"

namespace realm {

struct SchedulerOptions {
  int64_t max_queued = 1024;  // requests waiting to start, of all tenants
  // A step that holds prompt tokens beside running streams may take this many times as long as the
  // streams' tokens alone; its share of prompt tokens shrinks until it does.
  double max_step_stretch = 2.0;
  // But may last so long in any case: a token every 5 ms is faster than anybody reads.
  double step_floor_seconds = 0.005;
  bool prefix_cache = true;
  TenantPolicy default_policy = {};
  // Called on the scheduler's thread after the events of a step went out, so that sinks that only
  // queue can be flushed once a step.
  std::function<void()> on_step_end = {};
};

class Scheduler {
 public:
  Scheduler(std::unique_ptr<StepRunner> runner, SchedulerOptions options);
  // As stop().
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes the request or refuses it at once. Errors: kInvalidArgument for one that could never run
  // (an empty prompt, one longer than the context or than the cache or the tenant's pages hold, a
  // token id or a parameter out of range), kNotFound for an adapter that is not loaded, kExhausted
  // where the queue or the tenant's share of it is full (retry_after says when to come again),
  // kUnavailable while draining or with a broken engine.
  Result<RequestId> submit(Request request, std::shared_ptr<Sink> sink);
  // Ends the request by the next step with `reason` (kCancelled, or kStop where the client side met
  // a stop string). An id that is unknown or ended already is ignored: the race is the caller's.
  void cancel(RequestId id, FinishReason reason = FinishReason::kCancelled);
  // A paused request makes no tokens (its reader is slow); it may lose its pages to others and gets
  // them back when it goes on. Deadlines go on.
  void pause(RequestId id, bool paused);
  // A constraint may have become ready.
  void wake();
  // How long a request refused with kExhausted had better wait: by the pace of the last ones ended.
  std::chrono::seconds retry_after() const;

  // For requests from now on. Tenants without one have options.default_policy.
  void set_policy(TenantId tenant, const TenantPolicy& policy);
  // Lets all tenants share cached pages of this prompt prefix (whole pages of it), under the
  // adapter. Whether it is cached at a moment can be seen in the timing by every tenant: the
  // operator's choice, never a client's.
  void publish(std::span<const Token> prefix, AdapterId adapter = AdapterId::kNone);
  void unpublish(std::span<const Token> prefix, AdapterId adapter = AdapterId::kNone);

  // Refuses new requests from now on and waits until the accepted ones have ended, or for
  // `timeout`; false: some are still running.
  bool drain(std::chrono::milliseconds timeout);
  // Refuses new requests, ends all others with kCancelled and joins the thread.
  void stop();

  SchedulerStats stats() const;
  // Whether the engine's device has failed: every request is refused from then on. True before the
  // first request that the fault ends hears of it.
  bool is_broken() const;
  const RunnerLimits& limits() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace realm
