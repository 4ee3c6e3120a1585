#include "engine/sampling/params.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace realm {
namespace {

constexpr int64_t kVocab = 100;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool is_whole(const SamplingField& field) {
  return !std::holds_alternative<float SamplingParams::*>(field.member);
}

void expect_refused(const SamplingField& field, double value) {
  SamplingParams params;
  const double before = get_sampling_field(params, field);
  const Status status = set_sampling_field(params, field, value);
  ASSERT_FALSE(status.ok()) << field.name << " = " << value;
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(status.error().message.find(field.name), std::string::npos) << status.error().message;
  EXPECT_EQ(get_sampling_field(params, field), before);
}

TEST(SamplingParams, EveryRowHoldsItsRange) {
  for (const SamplingField& field : sampling_fields()) {
    SCOPED_TRACE(field.name);
    const double step = is_whole(field) ? 1.0 : 0.001 * std::max(1.0, std::abs(field.min));
    SamplingParams params;
    EXPECT_TRUE(set_sampling_field(params, field, field.max).ok());
    EXPECT_EQ(get_sampling_field(params, field), field.max);
    expect_refused(field, field.min - step);
    expect_refused(field, field.max + (is_whole(field) ? 1.0 : 0.001 * field.max));
    expect_refused(field, kNan);
    expect_refused(field, std::numeric_limits<double>::infinity());
    expect_refused(field, -std::numeric_limits<double>::infinity());
    if (field.min_excluded) {
      expect_refused(field, field.min);
    } else {
      EXPECT_TRUE(set_sampling_field(params, field, field.min).ok());
      EXPECT_EQ(get_sampling_field(params, field), field.min);
    }
    if (is_whole(field)) expect_refused(field, field.max - 0.5);
    // The default lies in the range, or validate() would refuse every request.
    EXPECT_TRUE(set_sampling_field(params, field, get_sampling_field({}, field)).ok());
    EXPECT_FALSE(field.help.empty());
  }
}

TEST(SamplingParams, EachFieldHasOneRowAndOneMember) {
  std::set<std::string_view> names;
  for (const SamplingField& field : sampling_fields()) {
    EXPECT_TRUE(names.insert(field.name).second) << field.name;
    if (!field.alias.empty()) {
      EXPECT_TRUE(names.insert(field.alias).second) << field.alias;
      EXPECT_EQ(find_sampling_field(field.alias), &field);
    }
    EXPECT_EQ(find_sampling_field(field.name), &field);
    SamplingParams params;
    ASSERT_TRUE(set_sampling_field(params, field, field.max).ok());
    for (const SamplingField& other : sampling_fields()) {
      if (&other == &field) continue;
      EXPECT_EQ(get_sampling_field(params, other), get_sampling_field({}, other))
          << field.name << " also changes " << other.name;
    }
  }
  EXPECT_EQ(find_sampling_field("no_such"), nullptr);
  EXPECT_EQ(find_sampling_field(""), nullptr);
}

TEST(SamplingParams, ValidateSaysWhichFieldAndRange) {
  const auto message = [](const SamplingParams& params) {
    const Status status = validate(params, kVocab);
    return status.ok() ? "" : status.error().message;
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.temperature = -1.0f}),
            "temperature must be at least 0 and at most 100, not -1");
  EXPECT_EQ(message({.top_p = 1.5f}), "top_p must be at least 0 and at most 1, not 1.5");
  EXPECT_EQ(message({.repeat_penalty = 0.0f}),
            "repeat_penalty must be above 0 and at most 100, not 0");
  EXPECT_EQ(message({.mirostat = 1}), "mirostat must be 0 or 2; version 1 is not offered");
  EXPECT_EQ(message({.temperature = std::nanf("")}),
            "temperature must be at least 0 and at most 100, not nan");
  EXPECT_EQ(message({.top_logprobs = 3}), "top_logprobs needs logprobs to be true");
  EXPECT_EQ(message({.logprobs = true, .top_logprobs = 3}), "");
}

TEST(SamplingParams, ValidateChecksTheLists) {
  SamplingParams params;
  for (const Token bad : {-1, 100, std::numeric_limits<Token>::max()}) {
    params.logit_bias = {{5, 1.0f}, {bad, 1.0f}};
    ASSERT_FALSE(validate(params, kVocab).ok());
    EXPECT_NE(validate(params, kVocab).error().message.find(std::to_string(bad)),
              std::string::npos);
  }
  for (const float bad : {100.5f, -101.0f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    params.logit_bias = {{99, bad}};
    EXPECT_FALSE(validate(params, kVocab).ok()) << bad;
  }
  for (const float good : {100.0f, -100.0f, 0.0f, -std::numeric_limits<float>::infinity()}) {
    params.logit_bias = {{0, good}, {99, good}};
    EXPECT_TRUE(validate(params, kVocab).ok()) << good;
  }
  params.logit_bias.assign(kMaxLogitBias + 1, {0, 0.0f});
  EXPECT_FALSE(validate(params, kVocab).ok());
  params.logit_bias.clear();

  params.samplers = {"top_k", "typ_p", "temperature"};
  EXPECT_TRUE(validate(params, kVocab).ok());
  params.samplers = {"top_k", "top_q"};
  EXPECT_EQ(validate(params, kVocab).error().message,
            "samplers: 'top_q' is not one of penalties, dry, top_n_sigma, top_k, typical_p, top_p, "
            "min_p, xtc, temperature");
  params.samplers = {"typical_p", "typ_p"};
  EXPECT_FALSE(validate(params, kVocab).ok());
  params.samplers.clear();

  params.dry_sequence_breakers = {""};
  EXPECT_FALSE(validate(params, kVocab).ok());
  params.dry_sequence_breakers = {std::string(kMaxSequenceBreakerBytes + 1, 'x')};
  EXPECT_FALSE(validate(params, kVocab).ok());
  params.dry_sequence_breakers.assign(kMaxSequenceBreakers + 1, "x");
  EXPECT_FALSE(validate(params, kVocab).ok());
  params.dry_sequence_breakers.clear();
  EXPECT_TRUE(validate(params, kVocab).ok());
}

TEST(SamplingParams, RandomSeedsDiffer) {
  EXPECT_NE(random_seed(), random_seed());
}

}  // namespace
}  // namespace realm
