// Requests and tokens per minute, tokens per day. A request reserves the most tokens it may cost
// before it is queued, and settles for what it did cost at its end, so that running requests cannot
// together overrun a limit. The minute is a sliding one (never more than the limit within any 60
// seconds, where a bucket that refills lets through nearly twice that); the day is the calendar's,
// in UTC, as reports show it. Everything counts at the second of the request's arrival, so that
// after a restart the ledger's rows give the same counters.
//
// The clock is the caller's. Every method may be called from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <variant>

#include "base/tenant_id.h"
#include "tenants/quotas.h"

namespace realm {

// Sums over the last minute, second by second. The 61st second back may have begun within the
// minute, so it counts until it has ended 60 seconds ago.
class MinuteWindow {
 public:
  void add(int64_t second, int64_t amount);
  int64_t sum(int64_t now_second);
  // The first second at which the sum, if nothing more is added, is at most `sum_max` (>= 0).
  int64_t second_of_sum(int64_t now_second, int64_t sum_max);

 private:
  static constexpr int64_t kSlots = 61;
  void advance(int64_t second);
  int64_t& slot(int64_t second) { return slots_[static_cast<size_t>(second % kSlots)]; }

  std::array<int64_t, kSlots> slots_{};
  int64_t newest_ = 0;  // second
  int64_t sum_ = 0;
};

struct RateRequest {
  int64_t prompt_tokens = 0;
  int64_t new_tokens_max = 0;  // what it may generate at the most
  // False: the client named no maximum, so it is given what the limits leave for one request.
  bool is_explicit = true;
};

struct RateReservation {
  TenantId tenant{};
  int64_t second = 0;
  int64_t tokens = 0;          // reserved: settle() gives back what was not used
  int64_t new_tokens_max = 0;  // what the request may generate
};

struct RateRefusal {
  std::string_view quota;  // its name in quotas.h
  int64_t limit = 0;
  // From then on the same request is admitted, if no other one comes first. Empty: it never is,
  // since it asks for more than the whole limit.
  std::optional<int64_t> retry_after_ms;
};

class RateLimiter {
 public:
  using Decision = std::variant<RateReservation, RateRefusal>;

  // Reserves all or nothing.
  Decision reserve(TenantId tenant, const Quotas& quotas, const RateRequest& request,
                   int64_t now_ms);
  // The request has ended and cost `tokens`. Once for each reservation.
  void settle(const RateReservation& reservation, int64_t tokens, int64_t now_ms);
  // The request was not accepted after all: it counts as never made.
  void cancel(const RateReservation& reservation, int64_t now_ms);
  // Usage from before the server's start, in order of arrival.
  void restore(TenantId tenant, int64_t arrived_ms, int64_t requests, int64_t tokens);

 private:
  struct Counters {
    MinuteWindow requests, tokens;
    int64_t day = 0;
    int64_t day_tokens = 0;
  };
  Counters& counters(TenantId tenant, int64_t now_ms);
  void adjust(const RateReservation& reservation, int64_t requests, int64_t tokens, int64_t now_ms);

  std::mutex mutex_;
  std::unordered_map<int64_t, Counters> tenants_;
  int64_t latest_ms_ = 0;  // a wall clock may be set back; counters never run backwards
};

}  // namespace realm
