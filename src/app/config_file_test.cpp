#include "app/config_file.h"

#include <gtest/gtest.h>

namespace realm {
namespace {

TEST(ConfigFile, ReadsNamesAndValues) {
  const auto lines = parse_config(
      "# comment\n"
      "\n"
      "threads = 4\r\n"
      "  top_p=0.9   # behind a value\n"
      "stop = \"a \\\"b\\\"\\n\\t\\\\ # no comment\"  # comment\n"
      "system = a#b = c\n"
      "empty =\n"
      "quoted = \"\"",
      "f");
  ASSERT_TRUE(lines.ok()) << lines.error().message;
  const std::vector<std::array<std::string, 2>> want = {
      {"threads", "4"},      {"top-p", "0.9"}, {"stop", "a \"b\"\n\t\\ # no comment"},
      {"system", "a#b = c"}, {"empty", ""},    {"quoted", ""}};
  ASSERT_EQ(lines->size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ((*lines)[i].name, want[i][0]);
    EXPECT_EQ((*lines)[i].value, want[i][1]);
  }
  EXPECT_EQ((*lines)[0].line, 3);
  EXPECT_EQ((*lines)[5].line, 8);
}

TEST(ConfigFile, SaysWhichLineIsWrong) {
  for (const char* text : {"a = 1\nnonsense", "a = 1\nb = \"open", "a = 1\nb = \"x\" y",
                           "a = 1\nb = \"\\q\"", "a = 1\nb = \"\\"}) {
    const auto lines = parse_config(text, "realm.conf");
    ASSERT_FALSE(lines.ok()) << text;
    EXPECT_EQ(lines.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(lines.error().message.starts_with("realm.conf:2: ")) << lines.error().message;
  }
}

TEST(ConfigFile, UsualPlace) {
  EXPECT_EQ(default_config_path("/x", "/home/a"), "/x/realm/realm.conf");
  EXPECT_EQ(default_config_path("", "/home/a"), "/home/a/.config/realm/realm.conf");
  EXPECT_EQ(default_config_path(nullptr, nullptr), "");
}

}  // namespace
}  // namespace realm
