// What one tenant may have of a scheduler at once. Rates (tokens a minute, requests a day) are the
// quotas' business before a request is submitted.
#pragma once

#include <cstdint>

namespace realm {

inline constexpr int64_t kUnlimited = INT64_MAX;

struct TenantPolicy {
  double weight = 1.0;  // above 0: share of the machine among tenants that want more than they get
  int64_t max_running = kUnlimited;
  int64_t max_queued = kUnlimited;
  int64_t max_pages = kUnlimited;  // KV pages of running requests
};

}  // namespace realm
