#include "tenants/quotas.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace realm {
namespace {

TEST(Quotas, EveryFieldTakesItsRangeAndNothingElse) {
  for (const QuotaField& field : quota_fields()) {
    SCOPED_TRACE(field.name);
    EXPECT_EQ(find_quota_field(field.name), &field);
    Quotas quotas;
    for (const double value : {field.min, field.max}) {
      ASSERT_TRUE(set_quota(quotas, field, value).ok());
      EXPECT_EQ(get_quota(quotas, field), value);
    }
    for (const double value :
         {field.min - 1, field.max * 2 + 1, std::nan(""), std::numeric_limits<double>::infinity(),
          -std::numeric_limits<double>::infinity()}) {
      const Status status = set_quota(quotas, field, value);
      ASSERT_FALSE(status.ok()) << value;
      EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
      EXPECT_NE(status.error().message.find(field.name), std::string::npos);
    }
    EXPECT_EQ(get_quota(quotas, field), field.max);
    const bool is_integer = std::holds_alternative<int64_t Quotas::*>(field.member);
    EXPECT_EQ(set_quota(quotas, field, 0.5).ok(), !is_integer);
  }
}

TEST(Quotas, DefaultsLieInTheRanges) {
  const Quotas defaults;
  for (const QuotaField& field : quota_fields()) {
    Quotas copy;
    EXPECT_TRUE(set_quota(copy, field, get_quota(defaults, field)).ok()) << field.name;
    EXPECT_EQ(copy, defaults);
  }
}

TEST(Quotas, UnknownNameIsNoField) {
  EXPECT_EQ(find_quota_field("tokens_per_year"), nullptr);
}

}  // namespace
}  // namespace realm
