// What the scheduler can tell about itself at any moment, for metrics and health checks. Totals
// only grow; the rest is the state right now.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/tenant_id.h"
#include "engine/finish_reason.h"

namespace realm {

struct TenantStats {
  TenantId tenant = {};
  int64_t running = 0, waiting = 0;
  int64_t pages = 0;   // of running requests; shared ones count for each
  double service = 0;  // the virtual token counter
  // Totals.
  int64_t prompt_tokens = 0;  // of requests that started
  int64_t cached_tokens = 0;  // of these, found in the prefix cache
  int64_t generated_tokens = 0;
  int64_t preemptions = 0;
  std::array<int64_t, kNumFinishReasons> finished = {};  // by FinishReason
};

struct SchedulerStats {
  bool accepting = true;
  std::optional<Error> fault = {};  // the engine is broken
  int64_t running = 0, waiting = 0;
  int64_t pages_total = 0;
  int64_t pages_used = 0;    // by running requests
  int64_t pages_cached = 0;  // kept only for the prefix cache; given up when needed
  int64_t pages_in_host_memory = 0;
  // Totals.
  int64_t steps = 0;
  int64_t step_tokens = 0;                // run in all steps, prefill and decode
  int64_t step_sampled = 0;               // tokens sampled; over steps: busy slots a step
  double step_seconds = 0;                // within the engine
  double scheduler_seconds = 0;           // planning, commits and events
  int64_t recomputed_tokens = 0;          // run again after preemption
  int64_t prefix_queries = 0;             // prompt tokens looked up in the prefix cache
  int64_t prefix_hits = 0;                // prompt tokens found there
  int64_t pages_stored = 0;               // copied to the host's memory
  int64_t pages_brought_back = 0;         // copied back
  std::vector<TenantStats> tenants = {};  // in order of id; the fields are summed over by total()

  TenantStats total() const;
};

}  // namespace realm
