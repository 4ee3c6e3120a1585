#include "engine/stop_strings.h"

#include <gtest/gtest.h>

namespace realm {
namespace {

StopStrings make(std::vector<std::string> strings, bool include_stop = false) {
  auto stops = StopStrings::create(std::move(strings), include_stop);
  CHECK(stops.ok());
  return std::move(stops).value();
}

struct Outcome {
  std::string text;
  std::string matched;
  bool operator==(const Outcome&) const = default;
};

Outcome feed(StopStrings stops, const std::vector<std::string>& pieces) {
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.text += stops.push(piece);
  outcome.text += stops.finish();
  if (stops.stopped()) outcome.matched = stops.matched();
  return outcome;
}

// The definition, over the whole text at once.
Outcome expected(const std::vector<std::string>& strings, bool include_stop,
                 const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string* longest = nullptr;
    for (const std::string& s : strings) {
      const bool here = s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0;
      if (here && (longest == nullptr || s.size() > longest->size())) longest = &s;
    }
    if (longest != nullptr) {
      return {text.substr(0, include_stop ? end : end - longest->size()), *longest};
    }
  }
  return {text, ""};
}

TEST(StopStrings, WithholdsWhatMayBeginOne) {
  StopStrings stops = make({"\n\nUser:"});
  EXPECT_EQ(stops.push("Yes."), "Yes.");
  EXPECT_EQ(stops.push(" No.\n"), " No.");
  EXPECT_EQ(stops.push("\n"), "");
  EXPECT_EQ(stops.push("Use a pen"), "\n\nUse a pen");
  EXPECT_EQ(stops.push("\n\n\nUs"), "\n");
  EXPECT_EQ(stops.push("er"), "");
  EXPECT_FALSE(stops.stopped());
  EXPECT_EQ(stops.push(": hello"), "");
  ASSERT_TRUE(stops.stopped());
  EXPECT_EQ(stops.matched(), "\n\nUser:");
  EXPECT_EQ(stops.push("more"), "");
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopStrings, FinishGivesBackWhatWasNoStop) {
  StopStrings stops = make({"END"});
  EXPECT_EQ(stops.push("the EN"), "the ");
  EXPECT_EQ(stops.finish(), "EN");
}

TEST(StopStrings, NoStringsPassesTextThrough) {
  EXPECT_EQ(feed(make({}), {"a", "", "b\n"}), (Outcome{"ab\n", ""}));
}

TEST(StopStrings, IncludesTheMatchOnRequest) {
  EXPECT_EQ(feed(make({"STOP"}, true), {"a ST", "OP b"}), (Outcome{"a STOP", "STOP"}));
}

TEST(StopStrings, EverySplitGivesTheSame) {
  const std::vector<std::vector<std::string>> sets = {
      {"aab"}, {"abab", "ba"}, {"b", "aab"}, {"aaaa"}, {"abaabaa", "aabb"}, {"ab", "xab", "b"}};
  const std::vector<std::string> texts = {"aaab",     "ababab", "xababx", "aaabaaab",
                                          "abaababb", "aaa",    "",       "xxab"};
  for (const auto& strings : sets) {
    for (const std::string& text : texts) {
      for (const bool include : {false, true}) {
        const Outcome want = expected(strings, include, text);
        const size_t num_splits = text.empty() ? 1 : size_t{1} << (text.size() - 1);
        for (size_t split = 0; split < num_splits; ++split) {
          std::vector<std::string> pieces(1);
          for (size_t i = 0; i < text.size(); ++i) {
            if (i > 0 && (split >> (i - 1) & 1) != 0) pieces.emplace_back();
            pieces.back() += text[i];
          }
          ASSERT_EQ(feed(make(strings, include), pieces), want) << text << " split " << split;
        }
      }
    }
  }
}

TEST(StopStrings, NeverCutsACharacter) {
  const std::string text = "né 日本語 🎈 fin日本X";
  for (const auto& strings :
       std::vector<std::vector<std::string>>{{}, {"日本X"}, {"本語 🎉"}, {"é!"}}) {
    StopStrings stops = make(strings);
    std::string all;
    for (const char byte : text) {
      const std::string out = stops.push(std::string(1, byte));
      if (!out.empty()) {
        EXPECT_NE(static_cast<unsigned char>(out[0]) & 0xC0, 0x80) << "starts within a character";
      }
      all += out;
    }
    all += stops.finish();
    EXPECT_EQ(all, expected(strings, false, text).text);
  }
}

TEST(StopStrings, InvalidUtf8PassesUnchanged) {
  const std::string text = "a\xff\xc3(\xe6\x97";
  EXPECT_EQ(feed(make({"zz"}), {text.substr(0, 2), text.substr(2, 1), text.substr(3)}),
            (Outcome{text, ""}));
}

TEST(StopStrings, RefusesWhatItCannotHold) {
  EXPECT_EQ(StopStrings::create({""}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(StopStrings::create({std::string(StopStrings::kMaxStringBytes + 1, 'x')}).ok());
  EXPECT_FALSE(
      StopStrings::create(std::vector<std::string>(StopStrings::kMaxStrings + 1, "x")).ok());
  EXPECT_TRUE(StopStrings::create({std::string(StopStrings::kMaxStringBytes, 'x')}).ok());
}

}  // namespace
}  // namespace realm
