#include "base/log.h"

#include <gtest/gtest.h>

namespace realm {
namespace {

TEST(Log, JsonLines) {
  EXPECT_EQ(json_log_line("T", "info", "it \"works\"\n"),
            R"({"time": "T", "level": "info", "message": "it \"works\"\n"})");
  EXPECT_EQ(json_log_line("T", "info", R"({"event": "request", "n": 1})"),
            R"({"time": "T", "level": "info", "event": "request", "n": 1})");
}

TEST(Log, WhatIsNoUtf8BecomesQuestionMarks) {
  const auto message = [](std::string_view text) {
    const std::string line = json_log_line("", "", text);
    return line.substr(38, line.size() - 40);
  };
  EXPECT_EQ(message("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
            "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(message("a\xff"
                    "b"),
            "a?b");
  EXPECT_EQ(message("\xc3"), "?");
  EXPECT_EQ(message("\xc0\x80"), "??");
  EXPECT_EQ(message("\xed\xa0\x80"), "???");
  EXPECT_EQ(message("\xf4\x90\x80\x80"), "????");
}

}  // namespace
}  // namespace realm
