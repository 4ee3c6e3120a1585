// Real vocabularies of shared/tokenizers: the ids that Hugging Face's tokenizers gave, and the way
// back. The prompts of realm-tiny's evaluation, as transformers tokenized them.
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "base/file.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "text/tokenizer.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

std::string shared_path(const std::string& relative) {
  return std::string(REALM_SHARED_DIR) + "/" + relative;
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& path) {
  Result<std::unique_ptr<TensorDirectory>> file = open_gguf(path);
  EXPECT_TRUE(file.ok()) << (file.ok() ? "" : file.error().message);
  if (!file.ok()) return nullptr;
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::create((*file)->metadata());
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

std::string read_file(const std::string& path) {
  Result<std::string> text = read_text_file(path, 64 << 20);
  EXPECT_TRUE(text.ok()) << path;
  return text.ok() ? *text : std::string();
}

struct Case {
  std::string text;
  std::vector<Token> ids;
};

std::vector<Case> read_cases(const std::string& stem) {
  const std::string input = read_file(stem + ".inp"), output = read_file(stem + ".out");
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<Case> cases;
  for (size_t begin = 0; begin < input.size();) {
    const size_t end = input.find(separator, begin);
    if (end == std::string::npos) break;
    cases.push_back({input.substr(begin, end - begin), {}});
    begin = end + separator.size();
  }
  std::istringstream lines(output);
  std::string line;
  size_t i = 0;
  for (; std::getline(lines, line) && i < cases.size(); ++i) {
    std::istringstream ids(line);
    for (Token id; ids >> id;) cases[i].ids.push_back(id);
  }
  EXPECT_EQ(i, cases.size()) << stem;
  return cases;
}

class GoldenVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(GoldenVocabulary, GivesTheExpectedIds) {
  const std::string stem =
      shared_path(std::string("tokenizers/ggml-vocab-") + GetParam() + ".gguf");
  if (!fs::exists(stem)) GTEST_SKIP() << stem << " is not here";
  const auto tokenizer = open_tokenizer(stem);
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<Case> cases = read_cases(stem);
  ASSERT_GT(cases.size(), 40u);
  for (const Case& c : cases) {
    const auto ids = tokenizer->encode(c.text, {.add_bos_eos = false});
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(*ids, c.ids) << c.text;
    if (tokenizer->model() != "bert") {
      EXPECT_EQ(tokenizer->decode(*ids), c.text);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shared, GoldenVocabulary,
                         testing::Values("llama-spm", "phi-3", "gpt-2", "mpt", "starcoder",
                                         "deepseek-llm", "bert-bge"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::erase(name, '-');
                           return name;
                         });

// ChatML as realm-tiny's template renders it without tools.
std::string chatml(const boost::json::array& messages) {
  std::string out;
  for (const boost::json::value& message : messages) {
    const boost::json::object& object = message.get_object();
    out += "<|im_start|>" + std::string(object.at("role").get_string()) + "\n" +
           std::string(object.at("content").get_string()) + "<|im_end|>\n";
  }
  return out + "<|im_start|>assistant\n";
}

std::vector<Token> token_list(const boost::json::value& list) {
  std::vector<Token> ids;
  for (const boost::json::value& id : list.get_array()) ids.push_back(id.to_number<Token>());
  return ids;
}

TEST(RealmTiny, TokenizesAllEvaluationPromptsAsTransformersDid) {
  const std::string folder = shared_path("models/realm-tiny/");
  if (!fs::exists(folder + "eval/greedy.jsonl")) GTEST_SKIP() << folder << " is not here";
  const auto tokenizer = open_tokenizer(folder + "realm-tiny.Q8_0.gguf");
  ASSERT_NE(tokenizer, nullptr);
  std::istringstream lines(read_file(folder + "eval/greedy.jsonl"));
  std::string line;
  int count = 0;
  for (; std::getline(lines, line); ++count) {
    const auto json = parse_json(line, "greedy.jsonl");
    ASSERT_TRUE(json.ok());
    const boost::json::object& object = json->get_object();
    const auto ids = tokenizer->encode(chatml(object.at("messages").get_array()),
                                       {.add_bos_eos = true, .parse_special = true});
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(*ids, token_list(object.at("prompt_ids"))) << line;
    const std::vector<Token> answer = token_list(object.at("answer_ids"));
    EXPECT_EQ(tokenizer->decode(answer, false), std::string(object.at("answer").get_string()));
    EXPECT_TRUE(tokenizer->is_eog(answer.back()));
    EXPECT_FALSE(tokenizer->is_eog(answer.front()));
  }
  EXPECT_GE(count, 50);
}

TEST(GoldenModels, EveryTokenizerLoadsAndRoundTrips) {
  const std::string folder = shared_path("golden");
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not here";
  const std::string text = "Hello,  wörld 123!\n\tIt's 你好 🦙.";
  int count = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string path = entry.path().string() + "/model.gguf";
    if (!fs::exists(path)) continue;
    const auto tokenizer = open_tokenizer(path);
    ASSERT_NE(tokenizer, nullptr) << path;
    const auto ids = tokenizer->encode(text, {.add_bos_eos = false});
    ASSERT_TRUE(ids.ok()) << path;
    if (tokenizer->model() != "bert") {
      EXPECT_EQ(tokenizer->decode(*ids), text) << path;
    }
    ++count;
  }
  EXPECT_GE(count, 40);
}

}  // namespace
}  // namespace realm
