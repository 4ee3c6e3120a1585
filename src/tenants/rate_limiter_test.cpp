#include "tenants/rate_limiter.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace realm {
namespace {

constexpr TenantId kTenant{7};
constexpr int64_t kStart = 1'764'000'000'000;  // 16:00:00 UTC
constexpr int64_t kSecond = 1000;
constexpr int64_t kDay = 86'400'000;

bool admits(RateLimiter& limiter, const Quotas& quotas, int64_t prompt, int64_t fresh, int64_t at) {
  return std::holds_alternative<RateReservation>(
      limiter.reserve(kTenant, quotas, {prompt, fresh, true}, at));
}

RateReservation reserve(RateLimiter& limiter, const Quotas& quotas, const RateRequest& request,
                        int64_t at) {
  const auto decision = limiter.reserve(kTenant, quotas, request, at);
  EXPECT_TRUE(std::holds_alternative<RateReservation>(decision));
  const auto* reservation = std::get_if<RateReservation>(&decision);
  return reservation == nullptr ? RateReservation{} : *reservation;
}

RateRefusal refusal(RateLimiter& limiter, const Quotas& quotas, const RateRequest& request,
                    int64_t at) {
  const auto decision = limiter.reserve(kTenant, quotas, request, at);
  EXPECT_TRUE(std::holds_alternative<RateRefusal>(decision));
  const auto* refused = std::get_if<RateRefusal>(&decision);
  return refused == nullptr ? RateRefusal{} : *refused;
}

TEST(RateLimiter, WithoutQuotasEverythingIsAdmitted) {
  RateLimiter limiter;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(admits(limiter, {}, INT64_MAX, INT64_MAX, kStart));
}

TEST(RateLimiter, RequestsPerMinute) {
  Quotas quotas;
  quotas.requests_per_minute = 3;
  RateLimiter limiter;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(admits(limiter, quotas, 1, 1, kStart + i * 10 * kSecond));
  }
  const RateRefusal refused = refusal(limiter, quotas, {1, 1, true}, kStart + 30 * kSecond + 250);
  EXPECT_EQ(refused.quota, "requests_per_minute");
  EXPECT_EQ(refused.limit, 3);
  // The first one's second ended 60 seconds ago at kStart + 61 s.
  EXPECT_EQ(refused.retry_after_ms, 31 * kSecond - 250);
  EXPECT_FALSE(admits(limiter, quotas, 1, 1, kStart + 61 * kSecond - 1));
  EXPECT_TRUE(admits(limiter, quotas, 1, 1, kStart + 61 * kSecond));
  EXPECT_FALSE(admits(limiter, quotas, 1, 1, kStart + 61 * kSecond));
}

TEST(RateLimiter, TokensAreReservedThenSettled) {
  Quotas quotas;
  quotas.tokens_per_minute = 100;
  RateLimiter limiter;
  const auto first = reserve(limiter, quotas, {20, 60, true}, kStart);
  EXPECT_EQ(first.tokens, 80);
  EXPECT_FALSE(admits(limiter, quotas, 10, 11, kStart));
  limiter.settle(first, 25, kStart + 2 * kSecond);  // 55 come back
  EXPECT_TRUE(admits(limiter, quotas, 10, 65, kStart + 2 * kSecond));
  EXPECT_FALSE(admits(limiter, quotas, 1, 0, kStart + 2 * kSecond));
}

TEST(RateLimiter, CancelGivesAllBack) {
  Quotas quotas;
  quotas.requests_per_minute = 1;
  quotas.tokens_per_minute = 100;
  quotas.tokens_per_day = 100;
  RateLimiter limiter;
  for (int i = 0; i < 5; ++i) {
    limiter.cancel(reserve(limiter, quotas, {50, 50, true}, kStart), kStart + i);
  }
  EXPECT_TRUE(admits(limiter, quotas, 50, 50, kStart));
}

TEST(RateLimiter, LateSettlementDoesNotMoveTheWindow) {
  Quotas quotas;
  quotas.tokens_per_minute = 100;
  RateLimiter limiter;
  const auto slow = reserve(limiter, quotas, {50, 50, true}, kStart);
  EXPECT_TRUE(admits(limiter, quotas, 50, 50, kStart + 61 * kSecond));
  limiter.settle(slow, 10, kStart + 62 * kSecond);  // its minute is over: nothing comes back
  EXPECT_FALSE(admits(limiter, quotas, 1, 0, kStart + 62 * kSecond));
}

TEST(RateLimiter, WhatExceedsALimitIsNeverAdmitted) {
  Quotas quotas;
  quotas.tokens_per_minute = 100;
  RateLimiter limiter;
  const RateRefusal refused = refusal(limiter, quotas, {60, 41, true}, kStart);
  EXPECT_EQ(refused.quota, "tokens_per_minute");
  EXPECT_FALSE(refused.retry_after_ms.has_value());
  quotas.requests_per_minute = 0;
  EXPECT_EQ(refusal(limiter, quotas, {1, 1, true}, kStart).quota, "requests_per_minute");
  const RateRequest huge{INT64_MAX, INT64_MAX, true};
  EXPECT_FALSE(refusal(limiter, quotas, huge, kStart).retry_after_ms.has_value());
}

TEST(RateLimiter, WithoutAMaximumTheRequestGetsWhatTheLimitLeaves) {
  Quotas quotas;
  quotas.tokens_per_minute = 100;
  quotas.tokens_per_day = 1000;
  RateLimiter limiter;
  const auto reservation = reserve(limiter, quotas, {30, 5000, false}, kStart);
  EXPECT_EQ(reservation.new_tokens_max, 70);
  EXPECT_EQ(reservation.tokens, 100);
  limiter.settle(reservation, 40, kStart);
  EXPECT_EQ(reserve(limiter, quotas, {30, 10, false}, kStart).new_tokens_max, 10);
  EXPECT_FALSE(refusal(limiter, quotas, {100, 10, false}, kStart).retry_after_ms.has_value());
}

TEST(RateLimiter, DayIsTheCalendars) {
  Quotas quotas;
  quotas.tokens_per_day = 100;
  RateLimiter limiter;
  EXPECT_TRUE(admits(limiter, quotas, 60, 40, kStart));
  const RateRefusal refused = refusal(limiter, quotas, {1, 1, true}, kStart + 500);
  EXPECT_EQ(refused.quota, "tokens_per_day");
  const int64_t midnight = (kStart / kDay + 1) * kDay;
  EXPECT_EQ(refused.retry_after_ms, midnight - kStart - 500);
  EXPECT_FALSE(admits(limiter, quotas, 1, 1, midnight - 1));
  EXPECT_TRUE(admits(limiter, quotas, 60, 40, midnight));
}

TEST(RateLimiter, SettlingAfterMidnightLeavesTheNewDayAlone) {
  Quotas quotas;
  quotas.tokens_per_day = 100;
  RateLimiter limiter;
  const int64_t midnight = (kStart / kDay + 1) * kDay;
  const auto reservation = reserve(limiter, quotas, {10, 90, true}, midnight - 1);
  limiter.settle(reservation, 20, midnight + 1);
  EXPECT_TRUE(admits(limiter, quotas, 10, 90, midnight + 1));
  EXPECT_FALSE(admits(limiter, quotas, 1, 0, midnight + 1));
}

TEST(RateLimiter, TheLastOfSeveralFullQuotasIsNamed) {
  Quotas quotas;
  quotas.requests_per_minute = 1;
  quotas.tokens_per_day = 10;
  RateLimiter limiter;
  EXPECT_TRUE(admits(limiter, quotas, 5, 5, kStart));
  EXPECT_EQ(refusal(limiter, quotas, {1, 1, true}, kStart).quota, "tokens_per_day");
}

TEST(RateLimiter, TenantsAreApart) {
  Quotas quotas;
  quotas.requests_per_minute = 1;
  RateLimiter limiter;
  EXPECT_TRUE(std::holds_alternative<RateReservation>(
      limiter.reserve(TenantId{1}, quotas, {1, 1, true}, kStart)));
  EXPECT_TRUE(std::holds_alternative<RateReservation>(
      limiter.reserve(TenantId{2}, quotas, {1, 1, true}, kStart)));
  EXPECT_FALSE(std::holds_alternative<RateReservation>(
      limiter.reserve(TenantId{1}, quotas, {1, 1, true}, kStart)));
}

TEST(RateLimiter, RestoredCountersGoOnWhereTheyWere) {
  Quotas quotas;
  quotas.requests_per_minute = 10;
  quotas.tokens_per_minute = 100;
  quotas.tokens_per_day = 150;
  RateLimiter limiter;
  limiter.restore(kTenant, kStart - 3600 * kSecond, 4, 60);
  limiter.restore(kTenant, kStart - 10 * kSecond, 2, 70);
  EXPECT_FALSE(admits(limiter, quotas, 20, 1, kStart));
  EXPECT_TRUE(admits(limiter, quotas, 10, 10, kStart));
  EXPECT_EQ(refusal(limiter, quotas, {1, 0, true}, kStart).quota, "tokens_per_day");
}

TEST(RateLimiter, AClockSetBackOpensNothing) {
  Quotas quotas;
  quotas.requests_per_minute = 1;
  RateLimiter limiter;
  EXPECT_TRUE(admits(limiter, quotas, 1, 1, kStart));
  EXPECT_FALSE(admits(limiter, quotas, 1, 1, kStart - 3600 * kSecond));
  EXPECT_FALSE(admits(limiter, quotas, 1, 1, kStart - 2 * kDay));
}

// The promise of the sliding minute against a list of all that was admitted.
TEST(RateLimiter, NoMinuteEverHoldsMoreThanTheLimit) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 20; ++round) {
    Quotas quotas;
    quotas.requests_per_minute = static_cast<int64_t>(1 + random() % 20);
    quotas.tokens_per_minute = static_cast<int64_t>(50 + random() % 500);
    RateLimiter limiter;
    struct Admitted {
      int64_t at, tokens;
    };
    std::deque<Admitted> minute;
    int64_t now = kStart, num_admitted = 0;
    for (int i = 0; i < 3000; ++i) {
      now += static_cast<int64_t>(random() % 4000);
      const auto tokens = static_cast<int64_t>(1 + random() % 100);
      const auto decision = limiter.reserve(kTenant, quotas, {tokens, 0, true}, now);
      while (!minute.empty() && minute.front().at <= now - 60 * kSecond) minute.pop_front();
      if (const auto* refused = std::get_if<RateRefusal>(&decision)) {
        if (!refused->retry_after_ms) continue;
        // Exact: not a millisecond earlier.
        EXPECT_FALSE(admits(limiter, quotas, tokens, 0, now + *refused->retry_after_ms - 1));
        now += *refused->retry_after_ms;
        EXPECT_TRUE(admits(limiter, quotas, tokens, 0, now));
      }
      while (!minute.empty() && minute.front().at <= now - 60 * kSecond) minute.pop_front();
      minute.push_back({now, tokens});
      ++num_admitted;
      int64_t sum = 0;
      for (const Admitted& entry : minute) sum += entry.tokens;
      ASSERT_LE(sum, quotas.tokens_per_minute);
      ASSERT_LE(static_cast<int64_t>(minute.size()), quotas.requests_per_minute);
    }
    EXPECT_GT(num_admitted, 100);
  }
}

}  // namespace
}  // namespace realm
