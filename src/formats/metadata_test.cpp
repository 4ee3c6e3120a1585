#include "formats/metadata.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace realm {
namespace {

TEST(Metadata, TypedAccessWithRanges) {
  Metadata m;
  m.set_uint32("n", 7);
  m.set("big", {~uint64_t{0}, GgufType::kUint64});
  m.set("neg", {int64_t{-3}, GgufType::kInt32});
  m.set_float32("f", 0.5f);
  m.set("nan", {std::nan(""), GgufType::kFloat64});
  m.set_string("s", "text");
  m.set_bool("b", true);

  EXPECT_EQ(*m.get_int("n", 0, 10), 7);
  EXPECT_EQ(m.get_int("n", 0, 6).error().message, "metadata key 'n': value 7 is not in [0, 6]");
  EXPECT_EQ(m.get_int("gone", 0, 6).error().message, "metadata key 'gone': missing");
  EXPECT_EQ(m.get_int("s", 0, 6).error().message,
            "metadata key 's': expected an integer, the file has a string");
  EXPECT_FALSE(m.get_int("big", 0, std::numeric_limits<int64_t>::max()).ok());
  EXPECT_EQ(*m.get_int("neg", -5, 5), -3);
  EXPECT_FALSE(m.get_int("neg", 0, 5).ok());
  EXPECT_FALSE(m.get_int("f", 0, 5).ok());
  EXPECT_EQ(*m.get_float("f"), 0.5);
  EXPECT_EQ(*m.get_float("n"), 7.0);
  EXPECT_FALSE(m.get_float("nan").ok());
  EXPECT_FALSE(m.get_bool("n").ok());
  EXPECT_TRUE(*m.get_bool("b"));
  EXPECT_EQ(*m.get_string("s"), "text");

  EXPECT_EQ(*m.get_int_or("gone", 42, 0, 1), 42);
  EXPECT_FALSE(m.get_int_or("n", 42, 0, 1).ok());
  EXPECT_EQ(*m.get_string_or("gone", "x"), "x");
  EXPECT_FALSE(m.get_string_or("n", "x").ok());
  EXPECT_TRUE(*m.get_bool_or("gone", true));
  EXPECT_FALSE(m.get_bool_or("s", true).ok());
  EXPECT_EQ(*m.get_float_or("gone", 1.5), 1.5);
  EXPECT_FALSE(m.get_float_or("s", 1.5).ok());
}

TEST(Metadata, Arrays) {
  Metadata m;
  m.set_int32s("i", {-1, 2});
  m.set("u", {MetadataArray(std::vector<uint64_t>{1, ~uint64_t{0}}), GgufType::kUint64});
  m.set_floats("f", {0.5, std::numeric_limits<double>::infinity()});
  m.set_strings("s", {"a", "b"});
  EXPECT_EQ(*m.get_ints("i", -1, 2), (std::vector<int64_t>{-1, 2}));
  EXPECT_FALSE(m.get_ints("i", 0, 2).ok());
  EXPECT_FALSE(m.get_ints("u", 0, 100).ok());
  EXPECT_FALSE(m.get_ints("s", 0, 100).ok());
  EXPECT_EQ(*m.get_floats("i"), (std::vector<float>{-1, 2}));
  EXPECT_EQ(m.get_floats("f").error().message, "metadata key 'f': element 1 is not finite");
  EXPECT_FALSE(m.get_floats("s").ok());
  EXPECT_EQ((*m.get_strings("s"))->at(1), "b");
  EXPECT_FALSE(m.get_strings("i").ok());
  EXPECT_FALSE(m.get_strings("gone").ok());
}

TEST(Metadata, KeepsInsertionOrder) {
  Metadata m;
  m.set_uint32("z", 1);
  m.set_uint32("a", 2);
  m.set_uint32("m", 3);
  m.set_uint32("a", 4);
  EXPECT_TRUE(m.erase("z"));
  EXPECT_FALSE(m.erase("z"));
  ASSERT_EQ(m.entries().size(), 2u);
  EXPECT_EQ(m.entries()[0].first, "a");
  EXPECT_EQ(*m.get_int("a", 0, 9), 4);
  EXPECT_EQ(*m.get_int("m", 0, 9), 3);
}

}  // namespace
}  // namespace realm
