#include "tenants/quotas.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace realm {
namespace {

// Integers up to here are exact in JSON and in doubles; limits are compared in sums of two.
constexpr double kCountMax = 0x1p52;

constexpr QuotaField kFields[] = {
    {"weight", &Quotas::weight, 0.001, 1000, "share of the machine beside other busy tenants"},
    {"priority", &Quotas::priority, -1, 1, "highest class its requests may ask for: -1, 0 or 1"},
    {"concurrent_requests", &Quotas::concurrent_requests, -1, 1e6,
     "requests that run at a time; -1 is no limit"},
    {"queued_requests", &Quotas::queued_requests, -1, 1e6,
     "requests that may wait; -1 is no limit"},
    {"kv_pages", &Quotas::kv_pages, -1, kCountMax, "pages of KV cache in use; -1 is no limit"},
    {"requests_per_minute", &Quotas::requests_per_minute, -1, kCountMax,
     "requests in any minute; -1 is no limit"},
    {"tokens_per_minute", &Quotas::tokens_per_minute, -1, kCountMax,
     "prompt and generated tokens in any minute; -1 is no limit"},
    {"tokens_per_day", &Quotas::tokens_per_day, -1, kCountMax,
     "prompt and generated tokens in a day (UTC); -1 is no limit"},
};

std::string shown(double value) {
  std::string text = std::to_string(value);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

std::span<const QuotaField> quota_fields() {
  return kFields;
}

const QuotaField* find_quota_field(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFields), std::end(kFields),
                                   [&](const QuotaField& field) { return field.name == name; });
  return found == std::end(kFields) ? nullptr : found;
}

double get_quota(const Quotas& quotas, const QuotaField& field) {
  return std::visit([&](auto member) { return static_cast<double>(quotas.*member); }, field.member);
}

Status set_quota(Quotas& quotas, const QuotaField& field, double value) {
  const bool is_integer = std::holds_alternative<int64_t Quotas::*>(field.member);
  const bool in_range = value >= field.min && value <= field.max;
  if (!in_range || (is_integer && value != std::floor(value))) {
    return Error{ErrorCode::kInvalidArgument,
                 std::string(field.name) + " must be " + (is_integer ? "an integer" : "a number") +
                     " from " + shown(field.min) + " to " + shown(field.max)};
  }
  if (is_integer) {
    quotas.*std::get<int64_t Quotas::*>(field.member) = static_cast<int64_t>(value);
  } else {
    quotas.*std::get<double Quotas::*>(field.member) = value;
  }
  return {};
}

}  // namespace realm
