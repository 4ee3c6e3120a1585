// The planner's account of one tenant: its waiting requests in order, what it holds, what it has
// been served.
#pragma once

#include <set>

#include "scheduler/live_request.h"
#include "scheduler/stats.h"
#include "scheduler/tenant_policy.h"

namespace realm {

struct EarlierRequest {
  bool operator()(const LiveRequest* a, const LiveRequest* b) const {
    return a->order != b->order ? a->order < b->order : a->id < b->id;
  }
};

struct Tenant {
  TenantId id = {};
  TenantPolicy policy = {};
  // The virtual token counter: cost of all service so far, over the weight.
  double service = 0;
  // The same of late: older service counts for less (Planner::recency_ has the scale).
  double recent = 0;
  bool is_light = false;  // served less than half as much of late as another that wants service
  std::set<LiveRequest*, EarlierRequest> waiting = {};
  int64_t running = 0;
  int64_t pages = 0;
  bool active = false;          // listed in the planner's active tenants
  uint64_t passed_over_in = 0;  // the last plan in which none of its requests could start
  TenantStats totals = {};
};

}  // namespace realm
