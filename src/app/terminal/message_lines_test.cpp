#include "app/terminal/message_lines.h"

#include <gtest/gtest.h>

#include <vector>

namespace realm {
namespace {

// The messages that these lines make; what is unfinished at the end counts as "<more>".
std::vector<std::string> messages(const std::vector<std::string>& lines) {
  MessageLines assembler;
  std::vector<std::string> result;
  for (const std::string& line : lines) {
    if (auto message = assembler.push(line)) result.push_back(*message);
  }
  if (assembler.unfinished()) result.push_back("<more>");
  return result;
}

using Lines = std::vector<std::string>;

TEST(MessageLines, OneLineIsOneMessage) {
  EXPECT_EQ(messages({"hello", "", "a \"\"\" b"}), (Lines{"hello", "", "a \"\"\" b"}));
}

TEST(MessageLines, BackslashGoesOn) {
  EXPECT_EQ(messages({"a\\", "b\\", "c", "d"}), (Lines{"a\nb\nc", "d"}));
  EXPECT_EQ(messages({"a\\"}), (Lines{"<more>"}));
  EXPECT_EQ(messages({"\\", ""}), (Lines{"\n"}));
}

TEST(MessageLines, Quotes) {
  EXPECT_EQ(messages({"\"\"\"a", "b\\", "c\"\"\"", "d"}), (Lines{"a\nb\\\nc", "d"}));
  EXPECT_EQ(messages({"\"\"\"", "a", "", "\"\"\""}), (Lines{"a\n"}));
  EXPECT_EQ(messages({"\"\"\"one line\"\"\""}), (Lines{"one line"}));
  EXPECT_EQ(messages({"\"\"\"\"\"\""}), (Lines{""}));
  EXPECT_EQ(messages({"\"\"\"", "a"}), (Lines{"<more>"}));
}

TEST(MessageLines, ResetForgets) {
  MessageLines lines;
  EXPECT_FALSE(lines.push("\"\"\"a"));
  lines.reset();
  EXPECT_FALSE(lines.unfinished());
  EXPECT_EQ(lines.push("b"), "b");
}

}  // namespace
}  // namespace realm
