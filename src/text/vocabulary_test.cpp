// Metadata that contradicts itself or was made to harm: an error that names the key, or no effect.
#include "text/vocabulary.h"

#include <gtest/gtest.h>

#include <limits>

#include "text/test_vocabulary.h"
#include "text/tokenizer.h"

namespace realm {
namespace {

using test::bpe_metadata;
using test::Entry;
using test::make_metadata;
using test::spm_entries;

Metadata good_spm() {
  return make_metadata("llama", spm_entries({{"▁a", test::kNormal, -1}}));
}

void set_ints(Metadata& metadata, const std::string& key, std::vector<int64_t> values) {
  metadata.set(key, MetadataValue{MetadataArray(std::move(values)), GgufType::kInt32});
}

void expect_error(const Metadata& metadata, ErrorCode code, const std::string& part) {
  const auto tokenizer = Tokenizer::create(metadata);
  ASSERT_FALSE(tokenizer.ok()) << "wanted an error with: " << part;
  EXPECT_EQ(tokenizer.error().code, code) << tokenizer.error().message;
  EXPECT_NE(tokenizer.error().message.find(part), std::string::npos) << tokenizer.error().message;
}

std::unique_ptr<Tokenizer> expect_tokenizer(const Metadata& metadata) {
  auto tokenizer = Tokenizer::create(metadata);
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

TEST(Vocabulary, NamesMissingAndUnknownKeys) {
  expect_error(Metadata(), ErrorCode::kBadModel, "tokenizer.ggml.model");
  Metadata unknown = good_spm();
  unknown.set_string("tokenizer.ggml.model", "rwkv");
  expect_error(unknown, ErrorCode::kUnsupported, "'rwkv'");
  unknown.set_string("tokenizer.ggml.model", "none");
  expect_error(unknown, ErrorCode::kUnsupported, "no vocabulary");
  unknown.set_bool("tokenizer.ggml.model", true);
  expect_error(unknown, ErrorCode::kBadModel, "tokenizer.ggml.model");

  Metadata bpe = bpe_metadata("gpt-2", {"h e"});
  bpe.erase("tokenizer.ggml.pre");
  expect_error(bpe, ErrorCode::kBadModel, "tokenizer.ggml.pre is missing");
  expect_error(bpe_metadata("qwen99", {"h e"}), ErrorCode::kUnsupported, "'qwen99'");
  bpe = bpe_metadata("gpt-2", {"h e"});
  bpe.erase("tokenizer.ggml.merges");
  expect_error(bpe, ErrorCode::kBadModel, "tokenizer.ggml.merges");

  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.scores"}) {
    Metadata spm = good_spm();
    spm.erase(key);
    expect_error(spm, ErrorCode::kBadModel, key);
    spm.set_bool(key, true);
    expect_error(spm, ErrorCode::kBadModel, key);
  }
}

TEST(Vocabulary, RefusesArraysThatDoNotFit) {
  Metadata spm = good_spm();
  spm.set_strings("tokenizer.ggml.tokens", {});
  expect_error(spm, ErrorCode::kBadModel, "tokenizer.ggml.tokens is empty");

  spm = good_spm();
  spm.set_floats("tokenizer.ggml.scores", {0, 1, 2});
  expect_error(spm, ErrorCode::kBadModel, "tokenizer.ggml.scores has 3 entries");

  spm = good_spm();
  set_ints(spm, "tokenizer.ggml.token_type", {1, 1});
  expect_error(spm, ErrorCode::kBadModel, "tokenizer.ggml.token_type has 2 entries");

  for (const int64_t type : {int64_t{-1}, int64_t{7}, int64_t{1} << 40}) {
    spm = good_spm();
    std::vector<int64_t> types(260, 1);
    types[5] = type;
    set_ints(spm, "tokenizer.ggml.token_type", types);
    expect_error(spm, ErrorCode::kBadModel, "tokenizer.ggml.token_type");
  }
  for (const double score : {std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity(), -1e300}) {
    std::vector<Entry> entries = spm_entries({{"a", test::kNormal, score}});
    expect_error(make_metadata("llama", entries), ErrorCode::kBadModel, "tokenizer.ggml.scores");
  }
}

TEST(Vocabulary, RefusesDuplicatesAndForgivesEmptyTexts) {
  expect_error(make_metadata("llama", spm_entries({{"a"}, {"b"}, {"a"}})), ErrorCode::kBadModel,
               "'a' twice, as 259 and 261");
  const auto tokenizer =
      expect_tokenizer(make_metadata("llama", spm_entries({{""}, {""}, {"▁a"}})));
  EXPECT_EQ(*tokenizer->encode("a"), (std::vector<Token>{1, 261}));
  EXPECT_FALSE(tokenizer->find(""));
  EXPECT_EQ(tokenizer->piece(259), "");
}

TEST(Vocabulary, RefusesByteTokensThatNameNoByte) {
  for (const std::string text :
       {"<0x-1>", "<0xGG>", "<0x1>", "<0x100>", "0x41", "<0X41>", "", "<0x4 >", "<0x\xff\xff>"}) {
    Metadata metadata =
        make_metadata("llama", {{"<unk>", test::kUnknown}, {"a"}, {text, test::kByte}});
    metadata.set_bool("tokenizer.ggml.add_bos_token", false);
    expect_error(metadata, ErrorCode::kBadModel, "is marked as a byte");
  }
  EXPECT_EQ(parse_byte_token("<0x0a>"), 10);
  EXPECT_EQ(parse_byte_token("<0xFF>"), 255);
  // Two spellings of one byte: the first is used, both are rendered.
  const auto tokenizer =
      expect_tokenizer(make_metadata("llama", spm_entries({{"<0xab>", test::kByte}})));
  EXPECT_EQ(tokenizer->piece(259), "\xab");
  EXPECT_EQ(tokenizer->piece(3 + 0xab), "\xab");
}

TEST(Vocabulary, ChecksSpecialIds) {
  for (const char* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                          "tokenizer.ggml.unknown_token_id"}) {
    Metadata metadata = good_spm();
    metadata.set_uint32(key, 260);
    expect_error(metadata, ErrorCode::kBadModel, std::string(key) + " is 260, outside");
    metadata.set_string(key, "1");
    expect_error(metadata, ErrorCode::kBadModel, key);
  }
  for (const char* key : {"tokenizer.ggml.padding_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.seperator_token_id"}) {
    Metadata metadata = good_spm();
    metadata.set_uint32(key, 1u << 31);
    const auto tokenizer = expect_tokenizer(metadata);
    EXPECT_EQ(tokenizer->pad(), kNoToken);
    EXPECT_EQ(tokenizer->eot(), kNoToken);
    EXPECT_EQ(tokenizer->fim_prefix(), kNoToken);
    EXPECT_EQ(tokenizer->sep(), kNoToken);
    ASSERT_EQ(tokenizer->warnings().size(), 1u);
    EXPECT_EQ(tokenizer->warnings()[0].rfind(std::string(key) + " is 2147483648, outside", 0), 0u);
  }
  EXPECT_TRUE(expect_tokenizer(good_spm())->warnings().empty());
  Metadata none = good_spm();
  none.set_uint32("tokenizer.ggml.eos_token_id", 0xffffffffu);
  EXPECT_EQ(expect_tokenizer(none)->eos(), kNoToken);
  none.set_bool("tokenizer.ggml.add_eos_token", true);
  expect_error(none, ErrorCode::kBadModel, "tokenizer.ggml.eos_token_id");

  // A vocabulary smaller than the defaults of its kind.
  Metadata small = make_metadata("llama", {{"a"}});
  expect_error(small, ErrorCode::kBadModel, "tokenizer.ggml.bos_token_id");
  small.set_bool("tokenizer.ggml.add_bos_token", false);
  const auto tokenizer = expect_tokenizer(small);
  EXPECT_EQ(tokenizer->bos(), kNoToken);
  EXPECT_EQ(tokenizer->unk(), 0);
  Metadata bert = make_metadata("bert", {{"▁a"}});
  expect_error(bert, ErrorCode::kBadModel, "tokenizer.ggml.bos_token_id");
}

TEST(Vocabulary, RefusesMergesOfUnknownTokens) {
  const auto with_merge = [](const std::string& merge) {
    Metadata metadata = bpe_metadata("gpt-2", {"h e"});
    metadata.set_strings("tokenizer.ggml.merges", {"h e", merge});
    return metadata;
  };
  expect_error(with_merge("h ez"), ErrorCode::kBadModel, "tokenizer.ggml.merges[1]");
  expect_error(with_merge("q u"), ErrorCode::kBadModel, "needs the token 'qu'");
  expect_error(with_merge("he"), ErrorCode::kBadModel, "not two tokens");
  expect_error(with_merge("h "), ErrorCode::kBadModel, "not two tokens");
  expect_error(with_merge(" "), ErrorCode::kBadModel, "not two tokens");
  expect_error(with_merge(""), ErrorCode::kBadModel, "not two tokens");
  const auto tokenizer = expect_tokenizer(with_merge("h e"));
  EXPECT_EQ(*tokenizer->encode("he"), (std::vector<Token>{256}));
}

TEST(Vocabulary, FindsTheTokensThatEndGeneration) {
  const auto tokenizer = expect_tokenizer(bpe_metadata(
      "llama-bpe", {"h e"},
      {{"<|eot_id|>", test::kControl}, {"<|eom_id|>", test::kControl}, {"</s>"}, {"<|im_end|>"}}));
  EXPECT_EQ(tokenizer->eot(), 257);
  EXPECT_TRUE(tokenizer->is_eog(257));
  EXPECT_TRUE(tokenizer->is_eog(258));
  EXPECT_FALSE(tokenizer->is_eog(259)) << "</s> is plain text here";
  EXPECT_TRUE(tokenizer->is_eog(260));
  EXPECT_TRUE(tokenizer->is_control(260)) << "known to end a turn, though marked as text";
  EXPECT_FALSE(tokenizer->is_eog(256));
  EXPECT_FALSE(tokenizer->is_eog(-1));
  EXPECT_FALSE(tokenizer->is_eog(1 << 30));
  EXPECT_EQ(tokenizer->bos(), kNoToken);
  EXPECT_FALSE(tokenizer->adds_bos()) << "the family adds BOS, but the file has none";

  // gpt-oss: <|end|> parts messages of one answer.
  const auto harmony = expect_tokenizer(bpe_metadata(
      "gpt-4o", {"h e"},
      {{"<|return|>", test::kControl}, {"<|call|>", test::kControl}, {"<|end|>", test::kControl}}));
  EXPECT_TRUE(harmony->is_eog(257));
  EXPECT_TRUE(harmony->is_eog(258));
  EXPECT_FALSE(harmony->is_eog(259));
  const auto phi = expect_tokenizer(bpe_metadata("gpt-2", {"h e"}, {{"<|end|>", test::kControl}}));
  EXPECT_TRUE(phi->is_eog(257));
}

TEST(Vocabulary, RefusesBrokenCharsmaps) {
  const auto with_map = [](std::vector<int64_t> bytes) {
    Metadata metadata = make_metadata("t5", {{"<pad>", test::kControl},
                                             {"</s>", test::kControl},
                                             {"<unk>", test::kUnknown},
                                             {"▁", test::kNormal, -1},
                                             {"a", test::kNormal, -2}});
    set_ints(metadata, "tokenizer.ggml.precompiled_charsmap", std::move(bytes));
    return metadata;
  };
  const char* key = "tokenizer.ggml.precompiled_charsmap";
  expect_error(with_map({1, 2, 3}), ErrorCode::kBadModel, key);
  expect_error(with_map({8, 0, 0, 0, 1, 2, 3, 4}), ErrorCode::kBadModel, key);
  expect_error(with_map({255, 255, 255, 255, 0, 0, 0, 0}), ErrorCode::kBadModel, key);
  expect_error(with_map({3, 0, 0, 0, 0, 0, 0, 0}), ErrorCode::kBadModel, key);
  expect_error(with_map({4, 0, 0, 0, 0, 0, 0, 0}), ErrorCode::kBadModel, "cut off");
  expect_error(with_map({4, 0, 0, 0, 0, 0, 0, 0, 'x'}), ErrorCode::kBadModel, "cut off");
  expect_error(with_map({300, 0, 0, 0}), ErrorCode::kBadModel, key);
  // A trie of no units matches nothing.
  EXPECT_EQ(*expect_tokenizer(with_map({0, 0, 0, 0, 0}))->encode("a"),
            (std::vector<Token>{3, 4, 1}));
  // A trie whose every unit points far outside: found to match nothing.
  const auto tokenizer = expect_tokenizer(with_map({4, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 'x', 0}));
  EXPECT_EQ(*tokenizer->encode("a", {.add_bos_eos = false}), (std::vector<Token>{3, 4}));
  EXPECT_EQ(*tokenizer->encode("a"), (std::vector<Token>{3, 4, 1}));
}

TEST(Vocabulary, RefusesAnUnknownNormalForm) {
  Metadata metadata = bpe_metadata("qwen2", {"h e"});
  metadata.set_string("realm.tokenizer.normal_form", "NFX");
  expect_error(metadata, ErrorCode::kUnsupported, "'NFX'");
  metadata.set_string("realm.tokenizer.normal_form", "NFC");
  const auto tokenizer = expect_tokenizer(metadata);
  EXPECT_EQ(tokenizer->decode(*tokenizer->encode("e\u0301")), "\u00e9");
  metadata.erase("realm.tokenizer.normal_form");
  EXPECT_EQ(expect_tokenizer(metadata)->decode(*tokenizer->encode("x")), "x");
}

}  // namespace
}  // namespace realm
