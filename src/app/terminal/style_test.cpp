#include "app/terminal/style.h"

#include <gtest/gtest.h>

#include "app/terminal/progress.h"

namespace realm {
namespace {

TEST(Style, ColorOnlyWhereAsked) {
  EXPECT_EQ(styled("a", Style::kBold, false), "a");
  EXPECT_EQ(styled("a", Style::kBold, true), "\x1b[1ma\x1b[0m");
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  EXPECT_FALSE(is_terminal(file));
  EXPECT_FALSE(wants_color(file));
  EXPECT_EQ(terminal_columns(file), 80);
  std::fclose(file);
}

TEST(Style, ControlCharactersAreDropped) {
  EXPECT_EQ(without_controls("a\x1b[31mb\r\n\tc\x07\x7f"), "a[31mb\n\tc");
  EXPECT_EQ(without_controls("\xC2\x9B"
                             "31m\xC2\xA0é\xC2\x80🎈"),
            "31m\xC2\xA0é🎈");
  EXPECT_EQ(without_controls(std::string("a\0b", 3)), "ab");
  EXPECT_EQ(without_controls("\xC2"), "\xC2");
}

TEST(Progress, Line) {
  const Progress progress("quantize", 200);
  EXPECT_EQ(progress.line(100, 60, 30.0),
            "quantize [================                 ]  50%  0:30 left");
  EXPECT_EQ(progress.line(0, 60, 0.0), "quantize [" + std::string(40, ' ') + "]   0%");
  EXPECT_EQ(progress.line(200, 60, 1.0), "quantize [" + std::string(40, '=') + "] 100%");
  EXPECT_EQ(progress.line(500, 60, 1.0), "quantize [" + std::string(40, '=') + "] 100%");
  EXPECT_TRUE(progress.line(10, 60, 400.0).ends_with("   5%  2:06:40 left"));
  EXPECT_EQ(progress.line(100, 20, 1.0), "quantize  50%  0:01 ");
  EXPECT_EQ(progress.line(100, 0, 1.0), "");
  EXPECT_EQ(Progress("x", 0).line(0, 30, 0.0).substr(0, 3), "x [");
}

TEST(Progress, SilentWithoutATerminal) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  {
    Progress progress("work", 10, file);
    for (uint64_t i = 0; i <= 10; ++i) progress.update(i);
  }
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace realm
