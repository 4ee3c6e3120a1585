#include "tenants/rate_limiter.h"

#include <algorithm>

namespace realm {
namespace {

constexpr int64_t kDayMs = 86'400'000;

int64_t add_saturated(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

// The tokens that a single request can ever have under both limits.
int64_t single_request_max(const Quotas& quotas) {
  int64_t limit = INT64_MAX;
  if (quotas.tokens_per_minute != kNoLimit) limit = std::min(limit, quotas.tokens_per_minute);
  if (quotas.tokens_per_day != kNoLimit) limit = std::min(limit, quotas.tokens_per_day);
  return limit;
}

}  // namespace

void MinuteWindow::advance(int64_t second) {
  if (second <= newest_) return;
  if (second - newest_ >= kSlots) {
    slots_.fill(0);
    sum_ = 0;
  } else {
    for (int64_t passed = newest_ + 1; passed <= second; ++passed) {
      sum_ -= slot(passed);
      slot(passed) = 0;
    }
  }
  newest_ = second;
}

void MinuteWindow::add(int64_t second, int64_t amount) {
  advance(second);
  if (second <= newest_ - kSlots) return;  // has left the window
  slot(second) += amount;
  sum_ += amount;
}

int64_t MinuteWindow::sum(int64_t now_second) {
  advance(now_second);
  return sum_;
}

int64_t MinuteWindow::second_of_sum(int64_t now_second, int64_t sum_max) {
  advance(now_second);
  int64_t left = sum_;
  int64_t second = newest_ - kSlots + 1;
  for (; left > sum_max && second <= newest_; ++second) left -= slot(second);
  return left < sum_ ? second - 1 + kSlots : now_second;
}

RateLimiter::Counters& RateLimiter::counters(TenantId tenant, int64_t now_ms) {
  Counters& found = tenants_[static_cast<int64_t>(tenant)];
  if (const int64_t day = now_ms / kDayMs; day > found.day) {
    found.day = day;
    found.day_tokens = 0;
  }
  return found;
}

RateLimiter::Decision RateLimiter::reserve(TenantId tenant, const Quotas& quotas,
                                           const RateRequest& request, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  now_ms = latest_ms_ = std::max(latest_ms_, now_ms);
  const int64_t second = now_ms / 1000;
  Counters& used = counters(tenant, now_ms);

  const int64_t single_max = single_request_max(quotas);
  int64_t new_tokens = request.new_tokens_max;
  if (!request.is_explicit) {
    new_tokens = std::max<int64_t>(1, std::min(new_tokens, single_max - request.prompt_tokens));
  }
  const int64_t tokens = add_saturated(request.prompt_tokens, new_tokens);

  // Of several full quotas the one that opens last is the answer.
  std::optional<RateRefusal> refusal;
  const auto refuse = [&](std::string_view quota, int64_t limit, std::optional<int64_t> at_ms) {
    RateRefusal next{quota, limit, std::nullopt};
    if (at_ms) next.retry_after_ms = *at_ms - now_ms;
    const bool is_later = !refusal || (refusal->retry_after_ms && !next.retry_after_ms) ||
                          (refusal->retry_after_ms && next.retry_after_ms &&
                           *next.retry_after_ms > *refusal->retry_after_ms);
    if (is_later) refusal = next;
  };
  const auto check_minute = [&](std::string_view quota, int64_t limit, MinuteWindow& window,
                                int64_t amount) {
    if (limit == kNoLimit) return;
    if (amount > limit) return refuse(quota, limit, std::nullopt);
    if (window.sum(second) <= limit - amount) return;
    refuse(quota, limit, window.second_of_sum(second, limit - amount) * 1000);
  };
  check_minute("requests_per_minute", quotas.requests_per_minute, used.requests, 1);
  check_minute("tokens_per_minute", quotas.tokens_per_minute, used.tokens, tokens);
  if (const int64_t limit = quotas.tokens_per_day; limit != kNoLimit) {
    if (tokens > limit) {
      refuse("tokens_per_day", limit, std::nullopt);
    } else if (used.day_tokens > limit - tokens) {
      refuse("tokens_per_day", limit, (used.day + 1) * kDayMs);
    }
  }
  if (refusal) return *refusal;

  // Without a limit on tokens nothing is reserved: sums of "as many as the context holds" mean
  // nothing, and settle() counts what was used all the same.
  const int64_t reserved = single_max == INT64_MAX ? 0 : tokens;
  used.requests.add(second, 1);
  used.tokens.add(second, reserved);
  used.day_tokens += reserved;
  return RateReservation{tenant, second, reserved, new_tokens};
}

void RateLimiter::adjust(const RateReservation& reservation, int64_t requests, int64_t tokens,
                         int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  now_ms = latest_ms_ = std::max(latest_ms_, now_ms);
  Counters& used = counters(reservation.tenant, now_ms);
  used.requests.sum(now_ms / 1000);  // what has left the window takes no change any more
  used.tokens.sum(now_ms / 1000);
  used.requests.add(reservation.second, requests);
  used.tokens.add(reservation.second, tokens);
  if (reservation.second * 1000 / kDayMs == used.day) used.day_tokens += tokens;
}

void RateLimiter::settle(const RateReservation& reservation, int64_t tokens, int64_t now_ms) {
  adjust(reservation, 0, tokens - reservation.tokens, now_ms);
}

void RateLimiter::cancel(const RateReservation& reservation, int64_t now_ms) {
  adjust(reservation, -1, -reservation.tokens, now_ms);
}

void RateLimiter::restore(TenantId tenant, int64_t arrived_ms, int64_t requests, int64_t tokens) {
  const std::lock_guard lock(mutex_);
  latest_ms_ = std::max(latest_ms_, arrived_ms);
  Counters& used = counters(tenant, arrived_ms);
  used.requests.add(arrived_ms / 1000, requests);
  used.tokens.add(arrived_ms / 1000, tokens);
  used.day_tokens += tokens;
}

}  // namespace realm
