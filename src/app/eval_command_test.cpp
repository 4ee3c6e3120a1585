#include "app/eval_command.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <filesystem>
#include <fstream>

#include "app/batch_generation.h"
#include "formats/json.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

class EvalCommand : public testing::Test {
 protected:
  void TearDown() override { fs::remove(path_); }
  const std::string& file(const std::string& content) {
    std::ofstream(path_, std::ios::binary) << content;
    return path_;
  }
  const std::string path_ =
      testing::TempDir() + "realm_eval_test_" + std::to_string(::getpid()) + ".jsonl";
};

constexpr char kQuestions[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"What is the capital of Portugal?\"}], "
    "\"expect\": \"Lisbon\", \"category\": \"fact\"}\n"
    "\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"What is 2 + 2?\"}], \"expect\": \"4\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Is Yemen in Asia?\"}], "
    "\"expect\": \"no such answer\"}\n";

TEST_F(EvalCommand, AsksAndScores) {
  int64_t calls = 0;
  const auto report = evaluate({.questions_path = file(kQuestions),
                                .max_tokens = 40,
                                .on_progress = [&](int64_t done, int64_t total) {
                                  EXPECT_EQ(done, ++calls);
                                  EXPECT_EQ(total, 3);
                                }});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(calls, 3);
  ASSERT_EQ(report->answers.size(), 3u);
  EXPECT_NE(report->answers[0].answer.find("Lisbon"), std::string::npos);
  EXPECT_TRUE(report->answers[0].right);
  EXPECT_EQ(report->answers[0].finish, "stop");
  EXPECT_EQ(report->answers[1].question.line, 3);
  EXPECT_TRUE(report->answers[1].right) << report->answers[1].answer;
  EXPECT_FALSE(report->answers[2].right);
  EXPECT_NEAR(report->score(), 2.0 / 3, 1e-12);
  const auto json = parse_json(report->json(), "report");
  ASSERT_TRUE(json.ok()) << json.error().message;
  EXPECT_EQ(json->get_object().at("answers").get_array().size(), 3u);
}

TEST_F(EvalCommand, AnswersDoNotDependOnTheBatch) {
  std::vector<std::string> expected;
  for (const int64_t sequences : {1, 2, 16}) {
    const auto report = evaluate({
        .questions_path = file(kQuestions),
        .max_tokens = 12,
        .sequences = sequences,
    });
    ASSERT_TRUE(report.ok()) << report.error().message;
    std::vector<std::string> answers;
    for (const EvalAnswer& answer : report->answers) answers.push_back(answer.answer);
    if (expected.empty()) expected = answers;
    EXPECT_EQ(answers, expected) << sequences;
  }
}

TEST_F(EvalCommand, WrongLinesAreNamed) {
  const std::string good =
      std::string(kQuestions).substr(0, std::string(kQuestions).find('\n') + 1);
  for (const char* line :
       {"{", "[]", "{\"expect\": \"x\"}", "{\"messages\": [], \"expect\": \"x\"}",
        "{\"messages\": \"hi\", \"expect\": \"x\"}", "{\"messages\": [1], \"expect\": \"x\"}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}"}) {
    const auto questions = read_questions(file(good + line + "\n"));
    ASSERT_FALSE(questions.ok()) << line;
    EXPECT_EQ(questions.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(questions.error().message.find("line 2"), std::string::npos)
        << questions.error().message;
  }
  EXPECT_EQ(read_questions(file("\n\n")).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(read_questions("/nowhere.jsonl").error().code, ErrorCode::kNotFound);
}

TEST_F(EvalCommand, APromptLongerThanTheContextIsRefusedByLine) {
  const auto report = evaluate({
      .model = {.context = 8},
      .questions_path = file(kQuestions),
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(report.error().message.find("line 1"), std::string::npos) << report.error().message;
}

TEST(BatchGeneration, EndsByLengthAndByFullContext) {
  const LoadedModel loaded = load_for_running({}).value();
  auto engine = loaded
                    .make_engine({.context = 16,
                                  .cache_tokens = 64,
                                  .max_step_tokens = 5,
                                  .max_sequences = 2,
                                  .max_logit_rows = 2})
                    .value();
  const std::vector<Token> prompt = {1, 361, 208, 627, 1391, 414, 460, 423, 299, 657};
  const std::vector<BatchPrompt> prompts = {{prompt, 3}, {prompt, 100}, {prompt, 1}, {prompt, 4}};
  std::vector<BatchAnswer> answers(prompts.size());
  const Status status = generate_batch(*engine, prompts, {}, [&](size_t i, BatchAnswer answer) {
    answers[i] = std::move(answer);
    return Status{};
  });
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(answers[0].finish, FinishReason::kLength);
  EXPECT_EQ(answers[0].tokens.size(), 3u);
  EXPECT_EQ(answers[1].finish, FinishReason::kContextFull);
  EXPECT_EQ(answers[1].tokens.size(), 7u);  // the last needs no place of its own
  EXPECT_EQ(answers[2].tokens.size(), 1u);
  EXPECT_TRUE(
      std::equal(answers[3].tokens.begin(), answers[3].tokens.end(), answers[1].tokens.begin()));
  EXPECT_EQ(engine->pages().pages_free(), engine->pages().num_pages());
}

}  // namespace
}  // namespace realm
