// The tenants' side of a server: the store, the picture of keys and quotas that requests are
// checked against, the rate limiter with what the ledger knows of the recent past, and the ledger's
// writer. Made by the serve command where there is a store; the authenticator and the admin routes
// work on it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "scheduler/tenant_policy.h"
#include "tenants/key_directory.h"
#include "tenants/ledger_writer.h"
#include "tenants/rate_limiter.h"
#include "tenants/tenant_store.h"

namespace realm::server {

struct TenancyOptions {
  std::string store_path;
  LedgerOptions ledger;
  // Called after each change of tenants or keys, and once at the start; on any thread.
  std::function<void(const DirectorySnapshot&)> on_change;
};

class Tenancy {
 public:
  // Makes the store where it is not there.
  static Result<std::unique_ptr<Tenancy>> open(TenancyOptions options);

  TenantStore& store() { return *store_; }
  KeyDirectory& directory() { return *directory_; }
  RateLimiter& limiter() { return limiter_; }
  LedgerWriter& ledger() { return *ledger_; }

 private:
  Tenancy() = default;
  std::unique_ptr<TenantStore> store_;
  std::unique_ptr<LedgerWriter> ledger_;
  std::unique_ptr<KeyDirectory> directory_;
  RateLimiter limiter_;
};

// What the scheduler is told of a tenant.
TenantPolicy policy_of(const Quotas& quotas);

}  // namespace realm::server
