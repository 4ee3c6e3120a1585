#include "base/json_writer.h"

#include <gtest/gtest.h>

#include <limits>

namespace realm {
namespace {

TEST(JsonWriter, NestsAndSeparates) {
  JsonWriter json;
  json.begin_object().text("a", "x").integer("b", -3).key("c").begin_array();
  json.number(0.5).boolean(true).null().begin_object().end_object();
  json.end_array().boolean("d", false).end_object();
  EXPECT_EQ(json.line(), "{\"a\": \"x\", \"b\": -3, \"c\": [0.5, true, null, {}], \"d\": false}\n");
}

TEST(JsonWriter, EscapesWhatJsonReserves) {
  JsonWriter json;
  json.text(std::string_view("\"\\\n\t\r\x01 \xc3\xa4\0", 10));
  EXPECT_EQ(json.line(), "\"\\\"\\\\\\n\\t\\r\\u0001 \xc3\xa4\\u0000\"\n");
}

TEST(JsonWriter, TakesJsonAsItIs) {
  JsonWriter json;
  json.begin_array().raw("{\"a\":1}").raw("2").end_array();
  EXPECT_EQ(json.str(), "[{\"a\":1}, 2]");
}

TEST(JsonWriter, NumbersReadBackTheSame) {
  JsonWriter json;
  json.begin_array().number(1.0 / 3).number(1e300).number(std::numeric_limits<double>::infinity());
  EXPECT_EQ(json.end_array().line(), "[0.3333333333333333, 1e+300, null]\n");
}

}  // namespace
}  // namespace realm
