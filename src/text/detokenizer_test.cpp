#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include "text/test_vocabulary.h"
#include "text/utf8.h"

namespace realm {
namespace {

using test::Entry;

std::unique_ptr<Tokenizer> byte_tokenizer() {
  auto tokenizer = Tokenizer::create(test::bpe_metadata(
      "gpt-2", {"h i"}, {{"<|end|>", test::kControl}, {"<tool>", test::kUserDefined}}));
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return std::move(*tokenizer);
}

Token byte_token(const Tokenizer& tokenizer, char byte) {
  return *tokenizer.find(byte_alphabet()[static_cast<unsigned char>(byte)]);
}

// Streams bytes one token each; every part given out must be whole characters.
std::string stream(const Tokenizer& tokenizer, std::string_view bytes) {
  StreamingDetokenizer detokenizer(tokenizer);
  std::string out;
  for (const char byte : bytes) {
    const std::string part = detokenizer.push(byte_token(tokenizer, byte));
    EXPECT_EQ(find_invalid_utf8(part), std::string::npos);
    out += part;
  }
  out += detokenizer.finish();
  EXPECT_TRUE(detokenizer.pending().empty());
  EXPECT_EQ(detokenizer.finish(), "");
  return out;
}

TEST(StreamingDetokenizer, HoldsEveryCharacterBackUntilItIsWhole) {
  const auto tokenizer = byte_tokenizer();
  for (const std::string text : {"a", "é", "€", "🦙", "\u0080", "\u07ff", "\u0800", "\ud7ff",
                                 "\ue000", "\uffff", "\U00010000", "\U0010ffff"}) {
    StreamingDetokenizer detokenizer(*tokenizer);
    for (size_t i = 0; i < text.size(); ++i) {
      const std::string part = detokenizer.push(byte_token(*tokenizer, text[i]));
      EXPECT_EQ(part, i + 1 == text.size() ? text : "");
      EXPECT_EQ(detokenizer.pending(), i + 1 == text.size() ? "" : text.substr(0, i + 1));
    }
    EXPECT_EQ(detokenizer.finish(), "");
  }
}

TEST(StreamingDetokenizer, GivesTheSameTextForEverySplit) {
  // Tokens of two bytes that start and end inside characters.
  const std::string text = "aé€🦙z";
  std::vector<Entry> entries = test::spm_entries({});
  const auto tokenizer = Tokenizer::create(test::make_metadata("llama", entries));
  ASSERT_TRUE(tokenizer.ok());
  StreamingDetokenizer detokenizer(**tokenizer);
  std::string out;
  for (const char byte : text) out += detokenizer.push(3 + static_cast<unsigned char>(byte));
  EXPECT_EQ(out + detokenizer.finish(), text);
}

TEST(StreamingDetokenizer, ReplacesWhatCanNoLongerBecomeValid) {
  const auto tokenizer = byte_tokenizer();
  const std::string r = "\xef\xbf\xbd";
  const std::pair<std::string, std::string> cases[] = {
      {"\x80", r},                          // a continuation alone
      {"\xff", r},                          // never a byte of UTF-8
      {"\xc0\xaf", r + r},                  // overlong: no such lead byte
      {"\xe0\x80\x80", r + r + r},          // overlong: second byte out of range
      {"\xed\xa0\x80", r + r + r},          // a surrogate
      {"\xf4\x90\x80\x80", r + r + r + r},  // above U+10FFFF
      {"\xe2\x82"
       "a",
       r + "a"},                                     // cut off in the middle
      {"\xf0\x9f\xa6", r},                           // cut off at the end
      {"\xf0\x9f\xa6\xf0\x9f\xa6\x99", r + "🦙"},  // a new start inside a character
      {"\xe2\xe2\x82\xac", r + "€"},
      {"x\xc3\xc3\xa9y", "x" + r + "éy"},
  };
  for (const auto& [bytes, expected] : cases) EXPECT_EQ(stream(*tokenizer, bytes), expected);
}

TEST(StreamingDetokenizer, NeverEmitsInvalidTextForAnyThreeBytes) {
  const auto tokenizer = byte_tokenizer();
  const unsigned char interesting[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                       0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed,
                                       0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff};
  for (const unsigned char a : interesting) {
    for (const unsigned char b : interesting) {
      for (const unsigned char c : interesting) {
        const std::string bytes = {static_cast<char>(a), static_cast<char>(b),
                                   static_cast<char>(c)};
        const std::string out = stream(*tokenizer, bytes);
        if (find_invalid_utf8(bytes) == std::string::npos) {
          EXPECT_EQ(out, bytes);
        } else {
          EXPECT_NE(out.find("\xef\xbf\xbd"), std::string::npos);
        }
      }
    }
  }
}

TEST(StreamingDetokenizer, HidesOrShowsControlTokens) {
  const auto tokenizer = byte_tokenizer();
  const Token end = *tokenizer->find("<|end|>"), tool = *tokenizer->find("<tool>");
  const Token hi = *tokenizer->find("hi");
  StreamingDetokenizer hidden(*tokenizer), shown(*tokenizer, true);
  EXPECT_EQ(hidden.push(hi), "hi");
  EXPECT_EQ(hidden.push(end), "");
  EXPECT_EQ(hidden.push(tool), "<tool>");
  EXPECT_EQ(shown.push(end), "<|end|>");
  EXPECT_EQ(shown.push(-1), "");
  EXPECT_EQ(shown.push(1 << 30), "");
  // A control token between the bytes of a character does not tear it apart.
  EXPECT_EQ(hidden.push(byte_token(*tokenizer, '\xc3')), "");
  EXPECT_EQ(hidden.push(end), "");
  EXPECT_EQ(hidden.push(byte_token(*tokenizer, '\xa9')), "é");
}

TEST(StreamingDetokenizer, StripsTheDummyPrefixOnlyAtTheStartOfAText) {
  const auto entries = test::spm_entries({{"▁Hello"}, {"▁world"}, {"▁"}});
  const auto created = Tokenizer::create(test::make_metadata("llama", entries));
  ASSERT_TRUE(created.ok());
  const Tokenizer& tokenizer = **created;
  const Token hello = *tokenizer.find("▁Hello"), world = *tokenizer.find("▁world");
  StreamingDetokenizer text(tokenizer, false, true);
  EXPECT_EQ(text.push(tokenizer.bos()), "");
  EXPECT_EQ(text.push(hello), "Hello");
  EXPECT_EQ(text.push(world), " world");
  StreamingDetokenizer answer(tokenizer);
  EXPECT_EQ(answer.push(hello), " Hello");
  StreamingDetokenizer spaces(tokenizer, false, true);
  EXPECT_EQ(spaces.push(*tokenizer.find("▁")), "");
  EXPECT_EQ(spaces.push(hello), " Hello");
  EXPECT_EQ(tokenizer.decode(std::vector<Token>{hello, world}), "Hello world");
}

}  // namespace
}  // namespace realm
