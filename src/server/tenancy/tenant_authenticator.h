// The server's Authenticator over the tenants' store: keys out of headers, quotas before requests,
// ledger rows after them. Without a store, or with one in which no key was ever made, everyone who
// can reach the server is the tenant "default" (the command then listens on loopback only), but
// nobody is an administrator.
#pragma once

#include <memory>
#include <optional>

#include "server/api/authenticator.h"
#include "server/tenancy/request_reports.h"
#include "server/tenancy/tenancy.h"

namespace realm::server {

class TenantAuthenticator final : public Authenticator {
 public:
  // `tenancy` may be null. Both outlive the authenticator and the admissions it gave.
  TenantAuthenticator(Tenancy* tenancy, RequestReports& reports)
      : tenancy_(tenancy), reports_(reports) {}

  std::optional<ApiError> check(const HttpRequest& request, Access access,
                                Principal& principal) override;
  std::optional<ApiError> admit(const Principal& principal, const Demand& demand,
                                std::unique_ptr<Admission>& admission) override;

  // Whether requests without a key are served.
  bool is_open() const;

 private:
  std::optional<ApiError> check_key(const HttpRequest& request, Access access,
                                    Principal& principal) const;

  Tenancy* const tenancy_;
  RequestReports& reports_;
};

// The one key that a request presents: "Authorization: Bearer KEY" or "x-api-key: KEY". Empty where
// there is none. Errors: 401 where there are several or another scheme.
std::optional<ApiError> read_key(const HttpRequest& request, std::string& key);

}  // namespace realm::server
