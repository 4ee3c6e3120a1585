// What a tenant may use: one row of the table is a quota's name (as in options, JSON and the
// store's columns), its range and its help. The scheduler enforces those on running work, the rate
// limiter (rate_limiter.h) those per minute and day.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace realm {

inline constexpr int64_t kNoLimit = -1;

struct Quotas {
  double weight = 1.0;
  int64_t priority = 1;
  int64_t concurrent_requests = kNoLimit;
  int64_t queued_requests = kNoLimit;
  int64_t kv_pages = kNoLimit;
  int64_t requests_per_minute = kNoLimit;
  int64_t tokens_per_minute = kNoLimit;
  int64_t tokens_per_day = kNoLimit;

  bool operator==(const Quotas&) const = default;
};

struct QuotaField {
  std::string_view name;
  std::variant<double Quotas::*, int64_t Quotas::*> member;
  double min, max;
  std::string_view help;
};

std::span<const QuotaField> quota_fields();
// Null where there is no quota of that name.
const QuotaField* find_quota_field(std::string_view name);

double get_quota(const Quotas& quotas, const QuotaField& field);
// kInvalidArgument, naming the quota and its range, where the value is outside of it or no integer.
Status set_quota(Quotas& quotas, const QuotaField& field, double value);

}  // namespace realm
