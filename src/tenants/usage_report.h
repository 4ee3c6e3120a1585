// Sums over the usage ledger, by tenant, key, model, adapter, outcome and day, and what the rate
// limiter has to know of the recent past when the server starts.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/tenant_id.h"
#include "tenants/sqlite.h"

namespace realm {

// What rows can be grouped by, as `--by` and the admin API name it. Days are UTC.
enum class UsageDimension { kTenant, kKey, kModel, kAdapter, kOutcome, kDay };

Result<UsageDimension> parse_usage_dimension(std::string_view name);
std::string_view usage_dimension_name(UsageDimension dimension);

struct UsageQuery {
  std::vector<UsageDimension> by = {};            // empty: one sum of all
  std::string tenant = {}, key = {}, model = {};  // filters; empty: all. `key` is a prefix
  std::optional<int64_t> since_ms = {};           // arrived at or after
  std::optional<int64_t> until_ms = {};           // arrived before
};

struct UsageTotal {
  std::vector<std::string> group = {};  // as UsageQuery::by
  int64_t requests = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t queue_us = 0;
  int64_t run_us = 0;
};

// In order of the groups.
Result<std::vector<UsageTotal>> read_usage(SqliteDatabase& database, const UsageQuery& query);

struct RecentUse {
  TenantId tenant;
  int64_t arrived_ms;
  int64_t requests;
  int64_t tokens;
};
// All that arrived at or after `since_ms`, second by second.
Status for_each_recent_use(SqliteDatabase& database, int64_t since_ms,
                           const std::function<void(const RecentUse&)>& visit);

}  // namespace realm
