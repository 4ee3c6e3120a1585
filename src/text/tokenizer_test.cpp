#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/test_vocabulary.h"
#include "text/utf8.h"
#include "text/wpm.h"

namespace realm {
namespace {

using test::bpe_metadata;
using test::Entry;
using test::make_metadata;
using test::spm_entries;
using Ids = std::vector<Token>;

std::unique_ptr<Tokenizer> create(const Metadata& metadata) {
  auto tokenizer = Tokenizer::create(metadata);
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

Ids encode(const Tokenizer& tokenizer, std::string_view text, EncodeOptions options = {}) {
  const auto ids = tokenizer.encode(text, options);
  EXPECT_TRUE(ids.ok()) << (ids.ok() ? "" : ids.error().message);
  return ids.ok() ? *ids : Ids();
}

// Text of random characters from scripts that stress tokenizers.
std::string random_text(std::mt19937& random, size_t characters) {
  constexpr const char32_t* kPool =
      U"aaabcdefghij    "
      U"\n\n\r\tABC'st'll.,!?-_()"
      U"0123456789éößñжΩ你好ひカ한مहिท\u0301\u00a0\u3000🦙👩\u200d▁";
  std::uniform_int_distribution<size_t> pick(0, std::char_traits<char32_t>::length(kPool) - 1);
  std::string out;
  for (size_t i = 0; i < characters; ++i) append_utf8(kPool[pick(random)], out);
  return out;
}

TEST(Tokenizer, RefusesInvalidUtf8ByOffset) {
  const auto tokenizer = create(bpe_metadata("gpt-2", {"h e"}));
  const auto ids = tokenizer->encode("he\xff", {});
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(ids.error().message.find("byte offset 2"), std::string::npos) << ids.error().message;
}

TEST(Tokenizer, MergesPairsByRankThenPlace) {
  // "hell": "l l" ranks before "h e"; "ab ab" must use the leftmost of equal pairs.
  const auto tokenizer = create(bpe_metadata("gpt-2", {"l l", "h e", "a a", "he ll", "aa a"}));
  const auto id = [&](const char* text) { return *tokenizer->find(text); };
  EXPECT_EQ(encode(*tokenizer, "hell"), (Ids{id("hell")}));
  EXPECT_EQ(encode(*tokenizer, "lll"), (Ids{id("ll"), id("l")}));
  EXPECT_EQ(encode(*tokenizer, "aaa"), (Ids{id("aaa")}));
  EXPECT_EQ(encode(*tokenizer, "aaaa"), (Ids{id("aa"), id("aa")}));
  EXPECT_EQ(encode(*tokenizer, "").size(), 0u);
}

TEST(Tokenizer, LongWordsMergeAsShortOnesDo) {
  // The heap of long words and the scan of short ones must agree: a long word of separable halves.
  const auto tokenizer =
      create(bpe_metadata("gpt-2", {"b c", "a b", "ab c", "c a", "bc a", "abc abc", "a a"}));
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    // No merge crosses a 'z', so words joined by it give the ids of the words.
    std::string text;
    Ids expected;
    for (int part = 0; part < 12; ++part) {
      std::string word;
      for (unsigned i = 0; i < 1 + random() % 12; ++i)
        word += static_cast<char>('a' + random() % 3);
      if (!text.empty()) {
        text += 'z';
        expected.push_back(*tokenizer->find("z"));
      }
      text += word;
      for (const Token t : encode(*tokenizer, word)) expected.push_back(t);
    }
    EXPECT_EQ(encode(*tokenizer, text), expected) << text;
  }
}

TEST(Tokenizer, WholeWordsComeBeforeMergesWhereTheFamilySaysSo) {
  const std::vector<Entry> more = {{"hey"}, {"<bye>", test::kControl}};
  const auto llama = create(bpe_metadata("llama-bpe", {"h e", "e y"}, more));
  EXPECT_EQ(encode(*llama, "hey"), (Ids{*llama->find("hey")}));
  const auto gpt2 = create(bpe_metadata("gpt-2", {"h e", "e y"}, more));
  EXPECT_EQ(encode(*gpt2, "hey"), (Ids{*gpt2->find("he"), *gpt2->find("y")}));
}

TEST(Tokenizer, ByteLevelRoundTripsAnyText) {
  std::mt19937 random(3);
  for (const char* pre : {"gpt-2", "llama-bpe", "qwen2", "deepseek-v3", "gpt-4o", "tekken",
                          "falcon", "starcoder", "bloom", "kimi-k2", "default"}) {
    const auto tokenizer = create(bpe_metadata(pre, {"h e", "a b", "Ġ a", "Ċ Ċ", "Ã ©"}));
    for (int i = 0; i < 50; ++i) {
      const std::string text = random_text(random, 80);
      EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text)), text) << pre;
    }
  }
}

TEST(Tokenizer, SentencePieceRoundTripsAnyText) {
  std::mt19937 random(4);
  const auto tokenizer = create(make_metadata("llama", spm_entries({{"▁", test::kNormal, -1},
                                                                    {"▁▁", test::kNormal, -2},
                                                                    {"a", test::kNormal, -3},
                                                                    {"b", test::kNormal, -4},
                                                                    {"▁a", test::kNormal, -5},
                                                                    {"ab", test::kNormal, -6},
                                                                    {"▁ab", test::kNormal, -7}})));
  const EncodeOptions plain{.add_bos_eos = false};
  for (int i = 0; i < 300; ++i) {
    std::string text = random_text(random, 60);
    // U+2581 itself is written as a space is; that is SentencePiece's one loss.
    for (size_t at; (at = text.find("▁")) != std::string::npos;) text.erase(at, 3);
    EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text, plain)), text);
  }
  EXPECT_EQ(encode(*tokenizer, ""), (Ids{1}));
  EXPECT_EQ(encode(*tokenizer, "", plain), Ids());
  EXPECT_EQ(encode(*tokenizer, "ab"), (Ids{1, *tokenizer->find("▁ab")}));
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "ab"), false), "ab");
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "ab"), true), "<s> ab");
}

TEST(Tokenizer, SentencePieceMergesByScoreAlsoInLongRuns) {
  const auto tokenizer = create(make_metadata("llama", spm_entries({{"a", test::kNormal, -9},
                                                                    {"b", test::kNormal, -9},
                                                                    {"aa", test::kNormal, -1},
                                                                    {"ab", test::kNormal, -2},
                                                                    {"aab", test::kNormal, -3},
                                                                    {"ba", test::kNormal, -4},
                                                                    {"z", test::kNormal, -9}})));
  const EncodeOptions plain{.add_bos_eos = false};
  std::mt19937 random(5);
  for (int round = 0; round < 100; ++round) {
    std::string text;
    for (int i = 0; i < 70; ++i)
      text += "ab"[random() % 2];  // one segment, longer than a short one
    // The same by definition: merge the best-scored pair, the leftmost of equals, until none is
    // left.
    std::vector<std::string> symbols = {"<0xE2>", "<0x96>", "<0x81>"};
    for (const char c : text) symbols.emplace_back(1, c);
    while (true) {
      int best = -1;
      double best_score = -100;
      for (size_t i = 3; i + 1 < symbols.size(); ++i) {
        const std::string both = symbols[i] + symbols[i + 1];
        const double score = both == "aa"    ? -1
                             : both == "ab"  ? -2
                             : both == "aab" ? -3
                             : both == "ba"  ? -4
                                             : -100;
        if (score > best_score) {
          best = static_cast<int>(i);
          best_score = score;
        }
      }
      if (best < 0) break;
      symbols[static_cast<size_t>(best)] += symbols[static_cast<size_t>(best) + 1];
      symbols.erase(symbols.begin() + best + 1);
    }
    Ids expected;
    for (const std::string& symbol : symbols) expected.push_back(*tokenizer->find(symbol));
    EXPECT_EQ(encode(*tokenizer, text, plain), expected) << text;
  }
}

TEST(Tokenizer, SentencePieceTakesUnusedTokensApart) {
  const auto tokenizer = create(make_metadata(
      "llama",
      spm_entries(
          {{"a"}, {"b"}, {"c"}, {"▁"}, {"ab", test::kUnused, -1}, {"abc", test::kNormal, -2}})));
  const auto id = [&](const char* text) { return *tokenizer->find(text); };
  const EncodeOptions plain{.add_bos_eos = false};
  EXPECT_EQ(encode(*tokenizer, "abc", plain), (Ids{id("▁"), id("abc")}));
  EXPECT_EQ(encode(*tokenizer, "abb", plain), (Ids{id("▁"), id("a"), id("b"), id("b")}));
}

TEST(Tokenizer, TextCannotSpellControlTokens) {
  const auto spm = create(make_metadata("llama", spm_entries({{"▁"},
                                                              {"<"},
                                                              {"/"},
                                                              {"s"},
                                                              {">"},
                                                              {"</", test::kNormal, 1},
                                                              {"s>", test::kNormal, 2}})));
  for (const Token token : encode(*spm, "</s><s><unk><0x41>", {.add_bos_eos = false})) {
    EXPECT_NE(token, spm->eos());
    EXPECT_NE(token, spm->bos());
    EXPECT_NE(token, 3 + 0x41);
  }
  EXPECT_EQ(encode(*spm, "</s>", {.add_bos_eos = false, .parse_special = true}), (Ids{2}));
  const auto bpe = create(bpe_metadata("llama-bpe", {"e o"}, {{"eot", test::kControl}}));
  EXPECT_EQ(encode(*bpe, "eot"), (Ids{*bpe->find("eo"), *bpe->find("t")}));
  EXPECT_EQ(encode(*bpe, "eot", {.parse_special = true}), (Ids{*bpe->find("eot")}));
}

TEST(Tokenizer, UserDefinedTokensAreAlwaysFoundTheLongestFirst) {
  const auto tokenizer = create(bpe_metadata("gpt-2", {"h e"},
                                             {{"<tool>", test::kUserDefined},
                                              {"<tool><tool>", test::kUserDefined},
                                              {"<|x|>", test::kControl},
                                              {"\xe2", test::kUserDefined},
                                              {"€", test::kUserDefined}}));
  const auto id = [&](const char* text) { return *tokenizer->find(text); };
  EXPECT_EQ(encode(*tokenizer, "he<tool>he"), (Ids{id("he"), id("<tool>"), id("he")}));
  EXPECT_EQ(encode(*tokenizer, "<tool><tool><tool>"), (Ids{id("<tool><tool>"), id("<tool>")}));
  EXPECT_EQ(encode(*tokenizer, "<|x|>").size(), 5u);
  EXPECT_EQ(encode(*tokenizer, "<|x|><tool>", {.parse_special = true}),
            (Ids{id("<|x|>"), id("<tool>")}));
  // A token of half a character never matches inside one.
  EXPECT_EQ(encode(*tokenizer, "€‚").front(), id("€"));
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "€‚")), "€‚");
}

TEST(Tokenizer, StripsWhiteSpaceBesideTokensOfModelsThatDo) {
  std::vector<Entry> entries = spm_entries({{"▁"}, {"a"}, {"<|user|>", test::kControl}});
  Metadata metadata = make_metadata("llama", entries);
  const EncodeOptions parse{.add_bos_eos = false, .parse_special = true};
  const Ids with_newline = encode(*create(metadata), "<|user|>\n a", parse);
  metadata.set_string("general.name", "Phi-3 mini");
  const auto phi = create(metadata);
  EXPECT_EQ(encode(*phi, "<|user|>\n a", parse), (Ids{261, 259, 260}));
  EXPECT_NE(with_newline, encode(*phi, "<|user|>\n a", parse));
  EXPECT_EQ(encode(*phi, "<s>\n", parse).size(), 3u) << "<s> keeps what follows it";

  Metadata jina = bpe_metadata("jina-v2-code", {"h e"}, {{"<mask>", test::kControl}});
  EXPECT_EQ(encode(*create(jina), "he \n<mask> he", {.parse_special = true}).size(), 4u);
}

TEST(Tokenizer, UnknownBytesAreUnkOrAnError) {
  std::vector<Entry> entries = {{"a"}, {"b"}, {"<unk>", test::kUnknown}};
  Metadata metadata = make_metadata("gpt2", entries);
  metadata.set_string("tokenizer.ggml.pre", "gpt-2");
  metadata.set_strings("tokenizer.ggml.merges", {});
  auto tokenizer = create(metadata);
  const auto ids = tokenizer->encode("ab!", {});
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(ids.error().message.find("0x21"), std::string::npos);
  metadata.set_uint32("tokenizer.ggml.unknown_token_id", 2);
  EXPECT_EQ(encode(*create(metadata), "ab!"), (Ids{0, 1, 2}));
}

TEST(Tokenizer, GemmaFourMergesCharactersAndFallsBackToBytes) {
  std::vector<Entry> entries =
      spm_entries({{"▁"}, {"a"}, {"b"}, {"ab"}, {"▁ab"}, {"\n"}, {"\n\n"}});
  Metadata metadata = make_metadata("gemma4", entries);
  metadata.set_strings("tokenizer.ggml.merges", {"a b", "▁ ab"});
  metadata.set_uint32("tokenizer.ggml.bos_token_id", 1);
  metadata.set_bool("tokenizer.ggml.add_bos_token", false);  // as early files say, wrongly
  const auto tokenizer = create(metadata);
  const auto id = [&](const char* text) { return *tokenizer->find(text); };
  const std::string text = "ab ab\n\né\n\n\n";
  EXPECT_EQ(encode(*tokenizer, text), (Ids{1, id("ab"), id("▁ab"), id("\n\n"), 3 + 0xc3, 3 + 0xa9,
                                           id("\n"), id("\n"), id("\n")}));
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text, {.add_bos_eos = false})), text);
}

TEST(Tokenizer, WordPieceCleansSplitsAndMatchesTheLongest) {
  const std::vector<Entry> entries = {{"[PAD]", test::kControl},
                                      {"[UNK]", test::kControl},
                                      {"[CLS]", test::kControl},
                                      {"[SEP]", test::kControl},
                                      {"▁un"},
                                      {"affa"},
                                      {"ble"},
                                      {"▁!"},
                                      {"▁cafe"},
                                      {"▁中"},
                                      {"▁'"},
                                      {"▁s"}};
  const auto tokenizer = create(make_metadata("bert", entries));
  EXPECT_EQ(encode(*tokenizer, "Unaffable!"), (Ids{2, 4, 5, 6, 7, 3}));
  EXPECT_EQ(encode(*tokenizer, "CAFÉ 中中 \u0001\ufffd"), (Ids{2, 8, 9, 9, 3}));
  EXPECT_EQ(encode(*tokenizer, "unaffablex cafe's"), (Ids{2, 1, 8, 10, 11, 3}));
  EXPECT_EQ(encode(*tokenizer, "un▁un"), (Ids{2, 1, 3}));
  EXPECT_EQ(encode(*tokenizer, ""), (Ids{2, 3}));
  EXPECT_EQ(tokenizer->decode(Ids{4, 5, 6, 7}), "unaffable!");
  // A word past 100 characters is unknown whatever it holds.
  std::string word = "un";
  for (int i = 0; i < 98; ++i) word += i % 4 < 4 ? "affa"[i % 4] : 'x';
  EXPECT_EQ(encode(*tokenizer, word + "b"), (Ids{2, 1, 3}));

  Metadata cased = make_metadata("bert", entries);
  cased.set_bool("tokenizer.ggml.normalizer.lowercase", false);
  EXPECT_EQ(encode(*create(cased), "un CAFE"), (Ids{2, 4, 1, 3}));
}

TEST(Tokenizer, WordPieceCleanUp) {
  EXPECT_EQ(clean_up_spaces("it ' s , isn 't !"), "it's, isn 't!");
  EXPECT_EQ(clean_up_spaces("do n't we 're he 's ."), "don't we're he's.");
}

TEST(Tokenizer, UnigramTakesTheLikeliestCut) {
  Metadata metadata = make_metadata("t5", {{"<pad>", test::kControl},
                                           {"</s>", test::kControl},
                                           {"<unk>", test::kUnknown},
                                           {"▁", test::kNormal, -3},
                                           {"a", test::kNormal, -4},
                                           {"b", test::kNormal, -4},
                                           {"ab", test::kNormal, -5},
                                           {"▁a", test::kNormal, -5},
                                           {"▁ab", test::kNormal, -12},
                                           {"<x>", test::kUserDefined, 0}});
  const auto tokenizer = create(metadata);
  EXPECT_EQ(encode(*tokenizer, "ab"), (Ids{3, 6, 1})) << "-8 beats -9 and -12";
  EXPECT_EQ(encode(*tokenizer, "aab"), (Ids{7, 6, 1}));
  EXPECT_EQ(encode(*tokenizer, "aéñb"), (Ids{7, 2, 5, 1})) << "one unknown for a run";
  EXPECT_EQ(encode(*tokenizer, "a<x>b"), (Ids{7, 9, 3, 5, 1}));
  EXPECT_EQ(tokenizer->decode(Ids{7, 6, 3, 6}), "aab ab");

  EXPECT_EQ(encode(*tokenizer, " a  b "), (Ids{3, 7, 3, 3, 5, 3, 1}));
  metadata.set_bool("tokenizer.ggml.remove_extra_whitespaces", true);
  EXPECT_EQ(encode(*create(metadata), " a  b "), (Ids{7, 3, 5, 1}));
  EXPECT_EQ(encode(*create(metadata), "   "), (Ids{1}));
}

}  // namespace
}  // namespace realm
