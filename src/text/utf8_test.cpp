#include "text/utf8.h"

#include <gtest/gtest.h>

namespace realm {
namespace {

TEST(Utf8, RoundTripsEveryCodePoint) {
  std::string all;
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string one;
    append_utf8(c, one);
    ASSERT_EQ(utf8_length(static_cast<unsigned char>(one[0])), one.size());
    size_t offset = 0;
    ASSERT_EQ(next_code_point(one, offset), c);
    ASSERT_EQ(offset, one.size());
    all += one;
  }
  EXPECT_EQ(find_invalid_utf8(all), std::string::npos);
}

TEST(Utf8, FindsTheFirstIllFormedSequence) {
  EXPECT_EQ(find_invalid_utf8(""), std::string::npos);
  EXPECT_EQ(find_invalid_utf8("0123456789\xc3"), 10u);
  EXPECT_EQ(find_invalid_utf8("01234567é\xff"), 10u);
  EXPECT_EQ(find_invalid_utf8("ab\xed\xa0\x80"), 2u);
  EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0u);
  EXPECT_EQ(find_invalid_utf8("\xc0\x80"), 0u);
  EXPECT_EQ(find_invalid_utf8("€\xe2\x82"), 3u);
}

}  // namespace
}  // namespace realm
