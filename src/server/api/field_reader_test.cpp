#include "server/api/field_reader.h"

#include <gtest/gtest.h>

#include <cmath>

#include "server/api/generation_fields.h"

namespace realm::server {
namespace {

constexpr size_t kMax = 1 << 20;

boost::json::object parse(const std::string& text) {
  boost::json::object object;
  const auto error = parse_body(text, kMax, object);
  EXPECT_FALSE(error) << error->message;
  return object;
}

TEST(ParseBody, RefusesWhatIsNoPlainObject) {
  boost::json::object out;
  for (const std::string& text :
       {std::string(""), std::string("[]"), std::string("{"), std::string("{} {}"),
        std::string("{\"a\": 1, \"a\": 2}"), std::string("{\"a\": \"\xff\"}"),
        std::string("{\"a\": 1e999999}x"), std::string(100, '['),
        "{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}"}) {
    const auto error = parse_body(text, kMax, out);
    ASSERT_TRUE(error) << text;
    EXPECT_EQ(error->status, 400);
  }
  const auto error = parse_body("{\"a\": \"0123456789\"}", 10, out);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->status, 413);
}

TEST(FieldReader, ReadsEachType) {
  const auto object =
      parse(R"({"b": true, "i": 8.0, "f": 0.5, "s": "x", "o": {}, "a": [1], "n": null})");
  std::optional<ApiError> error;
  FieldReader fields(object, "", error);
  EXPECT_EQ(fields.boolean("b"), true);
  EXPECT_EQ(fields.integer("i", 0, 10), 8);
  EXPECT_EQ(fields.number("f", 0, 1), 0.5);
  EXPECT_EQ(fields.text("s"), "x");
  EXPECT_NE(fields.object("o"), nullptr);
  EXPECT_NE(fields.array("a"), nullptr);
  EXPECT_EQ(fields.text("n"), std::nullopt);
  EXPECT_EQ(fields.text("absent"), std::nullopt);
  fields.finish();
  EXPECT_FALSE(error);
}

TEST(FieldReader, NamesTheFirstThingWrong) {
  const auto object = parse(R"({"a": "x", "b": "y", "c": 1})");
  std::optional<ApiError> error;
  FieldReader fields(object, "messages[2]", error);
  fields.integer("a", 0, 1);
  fields.integer("b", 0, 1);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "messages[2].a");
  EXPECT_EQ(error->message, "messages[2].a must be a whole number, not a string");
}

TEST(FieldReader, IntegersHaveRanges) {
  for (const char* text : {"-1", "11", "1e300", "-9223372036854775808", "18446744073709551615",
                           "3.5", "true", "\"3\"", "[]"}) {
    const auto object = parse(std::string("{\"n\": ") + text + "}");
    std::optional<ApiError> error;
    FieldReader fields(object, "", error);
    EXPECT_EQ(fields.integer("n", 0, 10), std::nullopt) << text;
    ASSERT_TRUE(error) << text;
    EXPECT_EQ(error->param, "n");
    EXPECT_EQ(error->status, 400);
  }
}

TEST(FieldReader, AFieldNobodyReadIsAnError) {
  const auto object = parse(R"({"a": 1, "surprise": null})");
  std::optional<ApiError> error;
  FieldReader fields(object, "", error);
  fields.ignore("a");
  fields.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "surprise");
}

TEST(FieldReader, RefusesUnlessItIsWhatHappensAnyway) {
  const auto object = parse(R"({"store": false, "tools": [{}]})");
  std::optional<ApiError> error;
  FieldReader fields(object, "", error);
  fields.refuse("store", "is not done", false);
  EXPECT_FALSE(error);
  fields.refuse("tools", "is not done", boost::json::array());
  ASSERT_TRUE(error);
  EXPECT_EQ(error->message, "tools is not done");
}

// Every field of the engine's table can be set by its name and by its alias, and a value past its
// range is refused by name.
TEST(GenerationFields, TakesEverySamplingField) {
  for (const SamplingField& field : sampling_fields()) {
    if (field.name == "logprobs" || field.name == "top_logprobs") continue;
    for (const std::string_view name : {field.name, field.alias}) {
      if (name.empty()) continue;
      boost::json::object object;
      object[boost::json::string_view(name.data(), name.size())] = field.max;
      std::optional<ApiError> error;
      FieldReader fields(object, "", error);
      SamplingParams params;
      read_sampling(fields, params);
      fields.finish();
      ASSERT_FALSE(error) << name << ": " << error->message;
      EXPECT_FLOAT_EQ(static_cast<float>(get_sampling_field(params, field)),
                      static_cast<float>(field.max))
          << name;

      object.begin()->value() = field.min - 1;
      FieldReader again(object, "", error);
      read_sampling(again, params);
      ASSERT_TRUE(error) << name;
      EXPECT_EQ(error->param, name);
    }
  }
}

TEST(GenerationFields, ReadsBiasInBothShapes) {
  for (const char* text :
       {R"({"logit_bias": {"5": 1.5, "7": false}})", R"({"logit_bias": [[5, 1.5], [7, false]]})"}) {
    const auto object = parse(text);
    std::optional<ApiError> error;
    FieldReader fields(object, "", error);
    SamplingParams params;
    read_sampling(fields, params);
    ASSERT_FALSE(error);
    ASSERT_EQ(params.logit_bias.size(), 2u);
    EXPECT_EQ(params.logit_bias[0].first, 5);
    EXPECT_EQ(params.logit_bias[0].second, 1.5f);
    EXPECT_TRUE(std::isinf(params.logit_bias[1].second));
  }
  for (const char* text :
       {R"({"logit_bias": {"x": 1}})", R"({"logit_bias": {"-1": 1}})", R"({"logit_bias": 3})",
        R"({"logit_bias": {"1": 101}})", R"({"logit_bias": {"99999999999999999999": 1}})",
        R"({"logit_bias": [[1]]})", R"({"logit_bias": {"1": "x"}})"}) {
    const auto object = parse(text);
    std::optional<ApiError> error;
    FieldReader fields(object, "", error);
    SamplingParams params;
    read_sampling(fields, params);
    ASSERT_TRUE(error) << text;
    EXPECT_EQ(error->param, "logit_bias");
  }
}

}  // namespace
}  // namespace realm::server
