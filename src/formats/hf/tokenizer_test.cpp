#include "formats/hf/tokenizer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "formats/hf/sentencepiece.h"
#include "formats/hf/tokenizer_json.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

// --- sentencepiece ---

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string field(int number, const std::string& bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}
std::string piece(const std::string& text, float score, uint64_t type) {
  std::string out = field(1, text) + varint(2 << 3 | 5);
  out.append(reinterpret_cast<const char*>(&score), 4);
  return field(1, out + field(3, type));
}

std::string small_model(uint64_t model_type = 2) {
  return piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("<0x41>", 0, 6) +
         piece("\xe2\x96\x81hi", -1.5f, 1) +
         field(2, field(3, model_type) + field(43, ~uint64_t{0})) + field(3, field(3, uint64_t{0}));
}

Result<hf::Vocabulary> parse(const std::string& bytes) {
  return hf::parse_sentencepiece(std::as_bytes(std::span(bytes)), "tokenizer.model");
}

TEST(SentencePiece, ReadsPieces) {
  const auto bpe = parse(small_model());
  ASSERT_TRUE(bpe.ok()) << bpe.error().message;
  const hf::Vocabulary& v = *bpe;
  EXPECT_EQ(v.model, "llama");
  ASSERT_EQ(v.tokens.size(), 5u);
  EXPECT_EQ(v.tokens[4], "\xe2\x96\x81hi");
  EXPECT_EQ(v.scores[4], -1.5);
  EXPECT_EQ(v.types, (std::vector<int64_t>{2, 3, 3, 6, 1}));
  EXPECT_EQ(*v.add_space_prefix, false);
  EXPECT_EQ(v.bos_id, 1);
  EXPECT_EQ(v.pad_id, -1);
  const auto unigram = parse(small_model(1));
  EXPECT_EQ(unigram->model, "t5");
  EXPECT_EQ(*unigram->remove_extra_whitespaces, true);
}

TEST(SentencePiece, SurvivesAnyCut) {
  const std::string whole = small_model();
  size_t accepted = 0;
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto result = parse(whole.substr(0, size));
    if (result.ok()) ++accepted;  // a cut between two fields is a model with fewer pieces
  }
  EXPECT_LE(accepted, 7u);
}

TEST(SentencePiece, RefusesMalformed) {
  const auto expect = [](const std::string& bytes, const char* part) {
    const auto result = parse(bytes);
    ASSERT_FALSE(result.ok()) << part;
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  };
  expect("", "no pieces");
  expect("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut off: a field of");
  expect("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "more than 64 bits");
  expect("\x0b", "wire type 3");
  expect(std::string("\x00", 1), "field number");
  expect(piece("a", 0, 7), "unknown type 7");
  expect(piece("a", std::numeric_limits<float>::infinity(), 1), "not finite");
  expect(piece("a", 0, 1) + field(2, field(3, uint64_t{4})), "model type 4");
}

// --- tokenizer.json ---

const char* const kByteLevel =
    R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})";

std::string bpe_file(const std::string& pre_tokenizer, const std::string& vocab,
                     const std::string& merges, const std::string& extra = "") {
  return R"({"added_tokens":[{"id":2,"content":"<|end|>","special":true},)"
         R"({"id":3,"content":"<tool>","special":false}],"normalizer":{"type":"NFC"},)"
         R"("pre_tokenizer":)" +
         pre_tokenizer + R"(,"model":{"type":"BPE","vocab":)" + vocab + R"(,"merges":)" + merges +
         extra + "}}";
}

std::string json_error(const std::string& text) {
  const auto result = hf::parse_tokenizer_json(text, "tokenizer.json");
  return result.ok() ? "accepted" : result.error().message;
}

const char* const kVocab = R"({"a":0,"b":1,"<|end|>":2,"ab":5})";

TEST(TokenizerJson, ReadsByteLevelBpe) {
  for (const char* merges : {R"(["a b"])", R"([["a","b"]])"}) {
    const auto result = hf::parse_tokenizer_json(bpe_file(kByteLevel, kVocab, merges), "t");
    ASSERT_TRUE(result.ok()) << result.error().message;
    EXPECT_EQ(result->model, "gpt2");
    EXPECT_EQ(result->pre, "gpt-2");
    EXPECT_EQ(result->tokens,
              (std::vector<std::string>{"a", "b", "<|end|>", "<tool>", "[PAD4]", "ab"}));
    EXPECT_EQ(result->types, (std::vector<int64_t>{1, 1, 3, 4, 5, 1}));
    EXPECT_EQ(result->merges, (std::vector<std::string>{"a b"}));
  }
}

TEST(TokenizerJson, RecognizesPreTokenizers) {
  const auto split = [](const std::string& regex, const std::string& behavior = "Isolated") {
    return R"({"type":"Split","pattern":{"Regex":")" + regex + R"("},"behavior":")" + behavior +
           R"(","invert":)" + (behavior == "Removed" ? "true" : "false") + "}";
  };
  const auto sequence = [](const std::string& steps) {
    return R"({"type":"Sequence","pretokenizers":[)" + steps +
           R"(,{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  };
  const std::string contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  const auto words = [&](const std::string& digits) {
    return contractions + R"(|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N})" + digits +
           R"(| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";
  };
  const auto name_of = [&](const std::string& pre, const std::string& extra = "") {
    const auto result = hf::parse_tokenizer_json(bpe_file(pre, kVocab, "[]", extra), "t");
    return result.ok() ? result->pre : result.error().message;
  };
  const std::string ignore = R"(,"ignore_merges":true)";
  EXPECT_EQ(name_of(sequence(split(words("")))), "qwen2");
  EXPECT_EQ(name_of(sequence(split(words(""), "Removed"))), "qwen2");
  EXPECT_EQ(name_of(sequence(split(words("{1,3}"))), ignore), "llama-bpe");
  EXPECT_EQ(name_of(sequence(split(words("{1,3}")))), "dbrx");
  EXPECT_EQ(name_of(R"({"type":"Sequence","pretokenizers":[)"
                    R"({"type":"Digits","individual_digits":true},)" +
                    std::string(kByteLevel) + "]}"),
            "starcoder");
  // The same pattern with the line breaks themselves in it, as some files have.
  EXPECT_EQ(
      name_of(sequence(split(R"(\\p{N}{1,3})") + "," + split("[一-龥぀-ゟ゠-ヿ]+") + "," +
                       split(R"([!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+)"
                             R"(|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+)"
                             R"(| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+)"))),
      "deepseek-v3");
  EXPECT_NE(name_of(sequence(split("x+"))).find("unknown pre-tokenizer"), std::string::npos);
  EXPECT_NE(name_of(sequence(split(words(""), "MergedWithNext"))).find("unknown pre-tokenizer"),
            std::string::npos);
  EXPECT_NE(name_of(sequence(split(words(""))), ignore).find("unknown pre-tokenizer"),
            std::string::npos);
  EXPECT_NE(name_of(R"({"type":"ByteLevel","add_prefix_space":true})").find("space before a text"),
            std::string::npos);
}

TEST(TokenizerJson, ReadsByteFallbackBpeAsSpm) {
  const std::string text =
      R"({"added_tokens":[{"id":0,"content":"<unk>","special":true},{"id":1,"content":"<s>","special":true}],)"
      R"("normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},)"
      R"({"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"pre_tokenizer":null,)"
      R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},)"
      R"({"Sequence":{"id":"A","type_id":0}}]},)"
      R"("model":{"type":"BPE","byte_fallback":true,"unk_token":"<unk>",)"
      R"("vocab":{"<unk>":0,"<s>":1,"<0x0A>":2,"<0x-1>":3,"a":4,"▁":5,"▁a":6,"aa":7},)"
      R"("merges":["▁ a","a a"]}})";
  const auto result = hf::parse_tokenizer_json(text, "t");
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->model, "llama");
  EXPECT_EQ(*result->add_space_prefix, true);
  EXPECT_EQ(result->types, (std::vector<int64_t>{2, 3, 6, 1, 1, 1, 1, 1}));
  EXPECT_GT(result->scores[6], result->scores[7]);  // the earlier merge goes first
  EXPECT_EQ(result->unk_id, 0);
  EXPECT_EQ(result->template_first, "<s>");
  EXPECT_EQ(result->template_last, "");
}

TEST(TokenizerJson, RefusesMalformed) {
  const auto expect = [](const std::string& text, const char* part) {
    const std::string message = json_error(text);
    EXPECT_NE(message.find(part), std::string::npos) << message << "\n  lacks: " << part;
  };
  expect("", "not valid JSON");
  expect("{}", "field 'model': missing");
  expect(R"({"model":{"type":"Unigram"}})", "'Unigram' is not supported");
  expect(bpe_file(kByteLevel, R"({"a":-1})", "[]"), "expected a token id");
  expect(bpe_file(kByteLevel, R"({"a":1048576})", "[]"), "expected a token id");
  expect(bpe_file(kByteLevel, R"({"a":1e30})", "[]"), "expected a token id");
  expect(bpe_file(kByteLevel, R"({"a":"b"})", "[]"), "expected a token id");
  expect(bpe_file(kByteLevel, R"({"a":1,"b":1})", "[]"), "token id 1 is there twice");
  expect(bpe_file(kByteLevel, R"({"a":1,"a":2})", "[]"), "JSON key 'a' is there twice");
  expect(bpe_file(kByteLevel, "{}", "[]"), "is empty");
  expect(bpe_file(kByteLevel, kVocab, R"(["ab"])"), "entry 0 is not a pair");
  expect(bpe_file(kByteLevel, kVocab, R"([["a"]])"), "entry 0 is not a pair");
  expect(bpe_file(kByteLevel, kVocab, R"([3])"), "entry 0 is not a pair");
  expect(bpe_file(kByteLevel, kVocab, "[]", R"(,"end_of_word_suffix":"</w>")"),
         "'end_of_word_suffix' is not supported");
  expect(bpe_file("7", kVocab, "[]"), "expected a JSON object");
  std::string nested = kByteLevel;
  for (int i = 0; i < 10; ++i) nested = R"({"type":"Sequence","pretokenizers":[)" + nested + "]}";
  expect(bpe_file(nested, kVocab, "[]"), "nested too deeply");
  expect(R"({"normalizer":{"type":"Lowercase"},"pre_tokenizer":)" + std::string(kByteLevel) +
             R"(,"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
         "normalizer is not supported");
}

// --- the folder ---

struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("realm-tok-test-" + std::to_string(::getpid()));
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name, std::ios::binary) << text;
  }
  Status add(const std::string& config_text, int64_t vocab_size, Metadata& metadata) const {
    const boost::json::value value = TRY(parse_json(config_text, "config.json"));
    return hf::add_tokenizer(path, TRY(JsonObject::from(value, "config.json")), vocab_size,
                             metadata);
  }
};

TEST(Tokenizer, RolesAndTemplates) {
  TemporaryFolder folder;
  folder.write("tokenizer.json", bpe_file(kByteLevel, kVocab, "[]"));
  folder.write("tokenizer_config.json",
               R"({"eos_token":{"content":"<|end|>"},"add_bos_token":false,"chat_template":)"
               R"([{"name":"default","template":"D"},{"name":"tool_use","template":"T"}]})");
  folder.write("generation_config.json", R"({"eos_token_id":[2,1],"pad_token_id":3})");
  Metadata m;
  ASSERT_TRUE(folder.add(R"({"bos_token_id":0})", 8, m).ok());
  EXPECT_EQ(*m.get_int("tokenizer.ggml.bos_token_id", 0, 9), 0);
  EXPECT_EQ(*m.get_int("tokenizer.ggml.eos_token_id", 0, 9), 2);
  EXPECT_EQ(*m.get_int("tokenizer.ggml.eot_token_id", 0, 9), 1);
  EXPECT_EQ(*m.get_int("tokenizer.ggml.padding_token_id", 0, 9), 3);
  EXPECT_FALSE(m.contains("tokenizer.ggml.unknown_token_id"));
  EXPECT_FALSE(*m.get_bool("tokenizer.ggml.add_bos_token"));
  EXPECT_EQ((*m.get_strings("tokenizer.ggml.tokens"))->size(), 8u);
  EXPECT_EQ((*m.get_strings("tokenizer.ggml.tokens"))->at(7), "[PAD7]");
  EXPECT_EQ(*m.get_string("tokenizer.chat_template"), "D");
  EXPECT_EQ(*m.get_string("tokenizer.chat_template.tool_use"), "T");
  folder.write("chat_template.jinja", "J");
  Metadata with_file;
  ASSERT_TRUE(folder.add("{}", 8, with_file).ok());
  EXPECT_EQ(*with_file.get_string("tokenizer.chat_template"), "J");
}

TEST(Tokenizer, SentencePieceWithAddedTokens) {
  TemporaryFolder folder;
  folder.write("tokenizer.model", small_model());
  folder.write("tokenizer_config.json",
               R"({"added_tokens_decoder":{"0":{"content":"<unk>","special":true},)"
               R"("6":{"content":"<|im_end|>","special":true},"7":{"content":"hey"}}})");
  Metadata m;
  ASSERT_TRUE(folder.add("{}", 8, m).ok());
  EXPECT_EQ(*m.get_ints("tokenizer.ggml.token_type", 0, 9),
            (std::vector<int64_t>{2, 3, 3, 6, 1, 5, 3, 4}));
  EXPECT_TRUE(*m.get_bool("tokenizer.ggml.add_bos_token"));
  EXPECT_FALSE(*m.get_bool("tokenizer.ggml.add_space_prefix"));
  EXPECT_EQ(*m.get_int("tokenizer.ggml.eos_token_id", 0, 9), 2);
}

TEST(Tokenizer, SaysWhatIsWrong) {
  TemporaryFolder folder;
  folder.write("tokenizer.json", bpe_file(kByteLevel, kVocab, "[]"));
  const auto expect = [&](const std::string& config, int64_t vocab_size, const char* part) {
    Metadata m;
    const Status status = folder.add(config, vocab_size, m);
    ASSERT_FALSE(status.ok()) << part;
    EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
  };
  expect("{}", 5, "less than the 6 tokens");
  expect(R"({"bos_token_id":6})", 6, "field 'bos_token_id'");
  expect(R"({"eos_token_id":[0,-2]})", 6, "expected token ids in [0, 6)");
  expect(R"({"bos_token_id":"x"})", 6, "expected an integer");
  folder.write("tokenizer_config.json", R"({"eos_token":"gone"})");
  expect("{}", 6, "the vocabulary has no token 'gone'");
  folder.write("tokenizer_config.json", R"({"chat_template":[1]})");
  expect("{}", 6, "chat_template");
  folder.write("tokenizer_config.json", R"([])");
  expect("{}", 6, "expected a JSON object");
  folder.write("tokenizer_config.json", R"({"added_tokens_decoder":{"-1":{"content":"x"}}})");
  folder.write("tokenizer.model", small_model());
  expect("{}", 6, "expected a token id as the key");
}

}  // namespace
}  // namespace realm
