#include "server/tenancy/tenant_authenticator.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace realm::server {
namespace {

ApiError unauthorized(std::string message) {
  return {.status = 401, .message = std::move(message), .code = "invalid_api_key"};
}

ApiError forbidden(std::string message) {
  return {.status = 403, .message = std::move(message), .code = "insufficient_scope"};
}

std::optional<Scope> scope_of(Access access) {
  switch (access) {
    case Access::kOpen:
      return std::nullopt;
    case Access::kInference:
      return Scope::kInference;
    case Access::kAdmin:
      return Scope::kAdmin;
    case Access::kMetrics:
      return Scope::kMetrics;
  }
  return Scope::kAdmin;
}

bool is_bearer(std::string_view value) {
  constexpr std::string_view kScheme = "bearer ";
  return value.size() > kScheme.size() &&
         std::equal(kScheme.begin(), kScheme.end(), value.begin(), [](char a, char b) {
           return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
         });
}

// The trace that the client's request is part of, or a new one.
TraceContext trace_of(const HttpRequest& request) {
  const std::string* header = request.find("traceparent");
  if (header != nullptr && request.count("traceparent") == 1) {
    if (const auto context = parse_traceparent(*header)) return *context;
  }
  return {.trace = new_trace_id(), .sampled = true};
}

ApiError refusal_error(const RateRefusal& refusal) {
  const std::string quota(refusal.quota), limit = std::to_string(refusal.limit);
  if (!refusal.retry_after_ms) {
    return {.status = 400,
            .message = "this request may need more than the quota " + quota + " of " + limit +
                       " ever allows; shorten the prompt or lower max_tokens",
            .code = "quota_too_small"};
  }
  const int64_t seconds = (*refusal.retry_after_ms + 999) / 1000;
  return {.status = 429,
          .message = "the quota " + quota + " of " + limit + " is used up; try again in " +
                     std::to_string(seconds) + " s",
          .code = "rate_limit_exceeded",
          .retry_after_s = static_cast<int>(seconds)};
}

bool is_still_valid(const Principal& principal, const TenantRecord& tenant,
                    const DirectorySnapshot& snapshot) {
  if (principal.key_id == 0) return !snapshot.has_keys;
  const auto key = snapshot.keys.find(principal.key_prefix);
  return key != snapshot.keys.end() && !key->second.revoked_ms && !tenant.suspended &&
         key->second.expires_ms.value_or(INT64_MAX) > unix_ms_now();
}

UsageRow row_of(const UsageRecord& record) {
  return {.request_id = record.request_id,
          .tenant = record.principal.tenant,
          .key = KeyId{record.principal.key_id},
          .model = record.model,
          .prompt_tokens = record.prompt_tokens,
          .cached_tokens = record.cached_tokens,
          .generated_tokens = record.generated_tokens,
          .queue_us = static_cast<int64_t>(record.queue_seconds * 1e6),
          .run_us = static_cast<int64_t>(record.run_seconds * 1e6),
          .outcome = finish_reason_name(record.finish),
          .arrived_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                            record.arrived.time_since_epoch())
                            .count()};
}

class TenantAdmission final : public Admission {
 public:
  TenantAdmission(Tenancy* tenancy, RequestReports& reports, const RateReservation& reservation,
                  int64_t max_tokens)
      : tenancy_(tenancy), reports_(reports), reservation_(reservation), max_tokens_(max_tokens) {}

  ~TenantAdmission() override {
    if (!recorded_ && tenancy_ != nullptr) tenancy_->limiter().cancel(reservation_, unix_ms_now());
  }

  int64_t max_tokens() const override { return max_tokens_; }

  void record(UsageRecord record, std::function<void()> done) override {
    recorded_ = true;
    reports_.ended(record);
    if (tenancy_ == nullptr) return done();
    tenancy_->limiter().settle(reservation_, record.prompt_tokens + record.generated_tokens,
                               unix_ms_now());
    LedgerWriter& ledger = tenancy_->ledger();
    if (ledger.is_synchronous()) return ledger.append(row_of(record), std::move(done));
    ledger.append(row_of(record));
    done();
  }

 private:
  Tenancy* const tenancy_;
  RequestReports& reports_;
  const RateReservation reservation_;
  const int64_t max_tokens_;
  bool recorded_ = false;
};

}  // namespace

std::optional<ApiError> read_key(const HttpRequest& request, std::string& key) {
  const size_t num_bearers = request.count("authorization"), num_keys = request.count("x-api-key");
  if (num_bearers > 1 || num_keys > 1) return unauthorized("send one API key, not several");
  if (num_bearers == 1) {
    const std::string& value = *request.find("authorization");
    if (!is_bearer(value)) return unauthorized("send the API key as 'Authorization: Bearer KEY'");
    key = value.substr(value.find(' ') + 1);
  }
  if (num_keys == 1) {
    const std::string& other = *request.find("x-api-key");
    // Some clients send both; two different keys would be two different callers.
    if (num_bearers == 1 && other != key) return unauthorized("send one API key, not several");
    key = other;
  }
  return std::nullopt;
}

bool TenantAuthenticator::is_open() const {
  return tenancy_ == nullptr || !tenancy_->directory().snapshot()->has_keys;
}

std::optional<ApiError> TenantAuthenticator::check(const HttpRequest& request, Access access,
                                                   Principal& principal) {
  std::optional<ApiError> refusal;
  if (access == Access::kOpen) {
    principal = {};
  } else if (is_open()) {
    if (access == Access::kAdmin) {
      return forbidden(
          "no keys were made yet, so nobody is an administrator; make one with 'realm "
          "keys create --scopes admin'");
    }
    principal = {.tenant = kDefaultTenant, .tenant_name = "default"};
  } else {
    refusal = check_key(request, access, principal);
  }
  if (!refusal) principal.trace = trace_of(request);
  return refusal;
}

std::optional<ApiError> TenantAuthenticator::check_key(const HttpRequest& request, Access access,
                                                       Principal& principal) const {
  std::string key;
  if (auto refusal = read_key(request, key)) return refusal;
  if (key.empty()) return unauthorized("an API key is required: 'Authorization: Bearer KEY'");
  const KeyCheck found = tenancy_->directory().check(key, unix_ms_now());
  switch (found.verdict) {
    case KeyVerdict::kUnknown:
      return unauthorized("this API key is not known here");
    case KeyVerdict::kExpired:
      return unauthorized("this API key has expired");
    case KeyVerdict::kRevoked:
      return unauthorized("this API key was revoked");
    case KeyVerdict::kSuspended:
      return ApiError{.status = 403,
                      .message = "the tenant of this API key is suspended",
                      .code = "tenant_suspended"};
    case KeyVerdict::kValid:
      break;
  }
  const auto scope = scope_of(access);
  if (scope && !found.key->scopes.has(*scope)) {
    return forbidden("this API key lacks the scope '" + Scopes(*scope).text() + "'");
  }
  principal = {.tenant = found.tenant->id,
               .key_id = static_cast<int64_t>(found.key->id),
               .key_prefix = found.key->prefix,
               .tenant_name = found.tenant->name,
               .models = found.key->models,
               .priority_max = static_cast<Priority>(found.tenant->quotas.priority)};
  return std::nullopt;
}

std::optional<ApiError> TenantAuthenticator::admit(const Principal& principal, const Demand& demand,
                                                   std::unique_ptr<Admission>& admission) {
  if (tenancy_ == nullptr) {
    admission = std::make_unique<TenantAdmission>(nullptr, reports_, RateReservation{}, -1);
    return std::nullopt;
  }
  if (!tenancy_->ledger().accepting()) {
    reports_.refused(principal, 503, "");
    return ApiError{.status = 503,
                    .message = "usage cannot be recorded at the moment, so no requests are taken",
                    .code = "ledger_unavailable",
                    .retry_after_s = 5};
  }
  const auto snapshot = tenancy_->directory().snapshot();
  const TenantRecord* tenant = snapshot->find_tenant(principal.tenant);
  // A connection may outlive its key (a WebSocket's does).
  if (tenant == nullptr || !is_still_valid(principal, *tenant, *snapshot)) {
    return unauthorized("this API key is not valid any more");
  }
  const int64_t sequences = std::max<int64_t>(demand.sequences, 1);
  const bool is_explicit = demand.max_tokens >= 0;
  const int64_t each = is_explicit ? demand.max_tokens : demand.context;
  int64_t all = 0;
  if (__builtin_mul_overflow(each, sequences, &all)) all = INT64_MAX;
  const auto decision = tenancy_->limiter().reserve(
      principal.tenant, tenant->quotas,
      {.prompt_tokens = demand.prompt_tokens, .new_tokens_max = all, .is_explicit = is_explicit},
      unix_ms_now());
  if (const auto* refusal = std::get_if<RateRefusal>(&decision)) {
    ApiError error = refusal_error(*refusal);
    reports_.refused(principal, error.status, refusal->quota);
    return error;
  }
  const auto& reservation = std::get<RateReservation>(decision);
  const int64_t max_tokens =
      is_explicit ? -1 : std::max<int64_t>(1, reservation.new_tokens_max / sequences);
  admission = std::make_unique<TenantAdmission>(tenancy_, reports_, reservation, max_tokens);
  return std::nullopt;
}

}  // namespace realm::server
