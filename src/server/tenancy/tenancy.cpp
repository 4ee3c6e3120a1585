#include "server/tenancy/tenancy.h"

#include <algorithm>

#include "base/clock.h"
#include "tenants/usage_report.h"

namespace realm::server {
namespace {

// The current day in UTC, and the minute before it begins where it has just begun.
int64_t counted_since(int64_t now_ms) {
  constexpr int64_t kDayMs = 86'400'000, kMinuteMs = 61'000;
  return std::min(now_ms / kDayMs * kDayMs, now_ms - kMinuteMs);
}

}  // namespace

Result<std::unique_ptr<Tenancy>> Tenancy::open(TenancyOptions options) {
  std::unique_ptr<Tenancy> tenancy(new Tenancy);
  tenancy->store_ = TRY(TenantStore::open(options.store_path, true));
  {
    const auto database = TRY(SqliteDatabase::open(options.store_path, false));
    TRY(for_each_recent_use(*database, counted_since(unix_ms_now()), [&](const RecentUse& use) {
      tenancy->limiter_.restore(use.tenant, use.arrived_ms, use.requests, use.tokens);
    }));
  }
  tenancy->ledger_ = TRY(LedgerWriter::open(options.store_path, options.ledger));
  KeyDirectory::Options directory;
  directory.on_change = std::move(options.on_change);
  tenancy->directory_ = TRY(KeyDirectory::open(options.store_path, std::move(directory)));
  return tenancy;
}

TenantPolicy policy_of(const Quotas& quotas) {
  const auto limit = [](int64_t quota) { return quota == kNoLimit ? kUnlimited : quota; };
  return {.weight = quotas.weight,
          .max_running = limit(quotas.concurrent_requests),
          .max_queued = limit(quotas.queued_requests),
          .max_pages = limit(quotas.kv_pages)};
}

}  // namespace realm::server
