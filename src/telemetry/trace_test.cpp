#include "telemetry/trace.h"

#include <gtest/gtest.h>

namespace realm {
namespace {

const std::string kGood = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(Trace, ReadsATraceparent) {
  const auto context = parse_traceparent(kGood);
  ASSERT_TRUE(context.has_value());
  EXPECT_EQ(hex(context->trace), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(hex(context->parent), "b7ad6b7169203331");
  EXPECT_TRUE(context->sampled);
  std::string unsampled = kGood;
  unsampled.back() = '0';
  EXPECT_FALSE(parse_traceparent(unsampled)->sampled);
  std::string later = kGood;
  later[1] = '1';
  EXPECT_TRUE(parse_traceparent(later).has_value());
  EXPECT_TRUE(parse_traceparent(later + "-more").has_value());
}

TEST(Trace, RefusesWhatIsNone) {
  for (size_t length = 0; length < kGood.size(); ++length) {
    EXPECT_FALSE(parse_traceparent(kGood.substr(0, length)).has_value()) << length;
  }
  EXPECT_FALSE(parse_traceparent(kGood + "-more").has_value());
  EXPECT_FALSE(parse_traceparent(kGood + "0").has_value());
  for (size_t i = 0; i < kGood.size(); ++i) {
    std::string spoilt = kGood;
    spoilt[i] = 'G';
    EXPECT_FALSE(parse_traceparent(spoilt).has_value()) << spoilt;
  }
  EXPECT_FALSE(parse_traceparent("ff" + kGood.substr(2)).has_value());
  EXPECT_FALSE(
      parse_traceparent("00-00000000000000000000000000000000-b7ad6b7169203331-01").has_value());
  EXPECT_FALSE(
      parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01").has_value());
  EXPECT_FALSE(
      parse_traceparent("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01").has_value());
}

TEST(Trace, IdsDiffer) {
  EXPECT_NE(new_trace_id(), new_trace_id());
  EXPECT_NE(new_span_id(), new_span_id());
}

}  // namespace
}  // namespace realm
