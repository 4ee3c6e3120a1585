#include "app/eval_command.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>

#include "app/batch_generation.h"
#include "base/file.h"
#include "base/json_writer.h"
#include "formats/json.h"
#include "text/detokenizer.h"
#include "text/prompt_template.h"

namespace realm {
namespace {

constexpr size_t kMaxQuestionBytes = size_t{256} << 20;
// Room in the cache for each sequence of a batch, unless the context is shorter.
constexpr int64_t kCacheTokensEach = 1024;

Result<EvalQuestion> parse_question(std::string_view text, const std::string& where) {
  auto parsed = parse_json(text, where);
  if (!parsed.ok()) return Error{ErrorCode::kInvalidArgument, parsed.error().message};
  const auto wrong = [&](const char* problem) {
    return Error{ErrorCode::kInvalidArgument, where + ": " + problem};
  };
  if (!parsed->is_object()) return wrong("not a JSON object");
  const boost::json::object& object = parsed->get_object();
  const auto* messages = object.if_contains("messages");
  if (messages == nullptr || !messages->is_array() || messages->get_array().empty()) {
    return wrong("'messages' is not a list of at least one message");
  }
  const auto& list = messages->get_array();
  if (!std::all_of(list.begin(), list.end(), [](const auto& m) { return m.is_object(); })) {
    return wrong("'messages' holds something else than objects");
  }
  const auto* expect = object.if_contains("expect");
  if (expect == nullptr || !expect->is_string()) return wrong("'expect' is not a string");
  EvalQuestion question;
  question.messages_json = boost::json::serialize(*messages);
  question.expect = std::string(expect->get_string());
  const auto* category = object.if_contains("category");
  if (category != nullptr && category->is_string()) {
    question.category = std::string(category->get_string());
  }
  return question;
}

std::string text_of(const Tokenizer& tokenizer, std::span<const Token> tokens) {
  StreamingDetokenizer detokenizer(tokenizer);
  std::string text;
  for (const Token token : tokens) text += detokenizer.push(token);
  return text + detokenizer.finish();
}

// Prompts of the questions, and the answers prepared but for their text.
Result<std::vector<BatchPrompt>> make_prompts(const LoadedModel& loaded,
                                              const PromptTemplate& chat_template,
                                              const EvalOptions& options, int64_t context,
                                              std::vector<EvalAnswer>& answers) {
  std::vector<BatchPrompt> prompts;
  for (EvalAnswer& answer : answers) {
    const std::string where =
        options.questions_path + ": line " + std::to_string(answer.question.line);
    auto text = chat_template.render(answer.question.messages_json);
    if (!text.ok()) return text.error().at(where);
    auto tokens = encode_prompt(*loaded.tokenizer, *text);
    if (!tokens.ok()) return tokens.error().at(where);
    answer.prompt_tokens = static_cast<int64_t>(tokens->size());
    if (tokens->empty() || answer.prompt_tokens > context) {
      return Error{ErrorCode::kInvalidArgument,
                   where + ": a prompt of " + std::to_string(answer.prompt_tokens) +
                       " tokens does not fit the context of " + std::to_string(context)};
    }
    prompts.push_back({std::move(tokens).value(), options.max_tokens});
  }
  return prompts;
}

}  // namespace

Result<std::vector<EvalQuestion>> read_questions(const std::string& path) {
  const std::string text = TRY(read_text_file(path, kMaxQuestionBytes));
  std::vector<EvalQuestion> questions;
  int line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view content(text.data() + begin, end - begin);
    begin = end + 1;
    ++line;
    if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    EvalQuestion question = TRY(parse_question(content, path + ": line " + std::to_string(line)));
    question.line = line;
    questions.push_back(std::move(question));
  }
  if (questions.empty()) {
    return Error{ErrorCode::kInvalidArgument, path + ": holds no questions"};
  }
  return questions;
}

Result<EvalReport> evaluate(const EvalOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  EvalReport report;
  auto questions = TRY(read_questions(options.questions_path));
  for (EvalQuestion& question : questions) {
    report.answers.push_back({.question = std::move(question)});
  }
  const LoadedModel loaded = TRY(load_for_running(options.model));
  report.model = loaded.label;
  auto chat_template =
      PromptTemplate::create(*loaded.file, *loaded.tokenizer, options.chat_template);
  if (!chat_template.ok()) return chat_template.error().at(loaded.label);
  const int64_t context = loaded.context;
  const auto prompts = TRY(make_prompts(loaded, *chat_template, options, context, report.answers));
  const int64_t sequences =
      std::clamp<int64_t>(options.sequences, 1, static_cast<int64_t>(prompts.size()));
  auto engine = TRY(loaded.make_engine(
      {.context = context,
       .cache_tokens = std::max(context, sequences * std::min(context, kCacheTokensEach)),
       .max_sequences = sequences,
       .max_logit_rows = sequences}));
  int64_t done = 0;
  const auto on_answer = [&](size_t index, const BatchAnswer& generated) -> Status {
    EvalAnswer& answer = report.answers[index];
    answer.answer = text_of(*loaded.tokenizer, generated.tokens);
    answer.answer_tokens = static_cast<int64_t>(generated.tokens.size());
    answer.finish = finish_reason_name(generated.finish);
    answer.right = answer.answer.find(answer.question.expect) != std::string::npos;
    if (options.on_progress) options.on_progress(++done, static_cast<int64_t>(prompts.size()));
    return {};
  };
  auto status =
      generate_batch(*engine, prompts, loaded.tokenizer->eog_tokens(), on_answer, options.cancel);
  if (!status.ok()) {
    if (status.error().code == ErrorCode::kBadModel) return status.error().at(loaded.label);
    return status.error();
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

int64_t EvalReport::num_right() const {
  return std::count_if(answers.begin(), answers.end(), [](const auto& a) { return a.right; });
}

double EvalReport::score() const {
  return static_cast<double>(num_right()) / static_cast<double>(answers.size());
}

std::string EvalReport::text() const {
  std::string out;
  for (const EvalAnswer& answer : answers) {
    if (answer.right) continue;
    out += "line " + std::to_string(answer.question.line) + ": expected '" +
           answer.question.expect + "', answered '" + answer.answer + "'\n";
  }
  char line[128];
  std::snprintf(line, sizeof line, "%lld of %zu right: %.1f %% (%.1f s)\n",
                static_cast<long long>(num_right()), answers.size(), 100 * score(), seconds);
  return out + line;
}

std::string EvalReport::json() const {
  JsonWriter json;
  json.begin_object().text("model", model).number("score", score());
  json.integer("right", num_right()).integer("questions", static_cast<int64_t>(answers.size()));
  json.number("seconds", seconds).key("answers").begin_array();
  for (const EvalAnswer& answer : answers) {
    json.begin_object().integer("line", answer.question.line);
    if (!answer.question.category.empty()) json.text("category", answer.question.category);
    json.text("expect", answer.question.expect).text("answer", answer.answer);
    json.boolean("right", answer.right).text("finish_reason", answer.finish);
    json.integer("prompt_tokens", answer.prompt_tokens);
    json.integer("answer_tokens", answer.answer_tokens).end_object();
  }
  json.end_array().end_object();
  return json.line();
}

}  // namespace realm
