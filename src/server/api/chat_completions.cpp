// POST /v1/chat/completions: OpenAI's chat API, whole or as a stream.
#include <optional>
#include <utility>

#include "server/api/chat_messages.h"
#include "server/api/endpoints.h"
#include "server/api/generation_fields.h"
#include "server/api/ids.h"
#include "server/api/sse.h"
#include "server/api/token_json.h"

namespace realm::server {
namespace {

namespace json = boost::json;

constexpr int64_t kMaxTopLogprobs = 20;

struct Answer {
  std::string id = random_id("chatcmpl-");
  int64_t created_s = unix_seconds();
  std::string model;
  const Tokenizer* tokenizer = nullptr;
  std::string fingerprint;
  bool logprobs = false;
  size_t choices = 1;
  StreamOptions stream;

  void begin(JsonWriter& json, std::string_view object) const {
    json.begin_object()
        .text("id", id)
        .text("object", object)
        .integer("created", created_s)
        .text("model", model)
        .text("system_fingerprint", fingerprint);
  }

  void write_logprobs(JsonWriter& json, const std::vector<TokenReport>& tokens) const {
    json.key("logprobs");
    if (!logprobs) {
      json.null();
      return;
    }
    json.begin_object().key("content").begin_array();
    for (const TokenReport& token : tokens) write_chat_logprob(json, *tokenizer, token);
    json.end_array().null("refusal").end_object();
  }
};

class ChatStream final : public GenerationObserver {
 public:
  ChatStream(Answer answer, std::shared_ptr<Exchange> exchange)
      : answer_(std::move(answer)), exchange_(std::move(exchange)) {}

  // Once the request has been taken.
  void open() {
    exchange_->begin(sse_head(), std::string(kSsePing));
    for (size_t i = 0; i < answer_.choices; ++i) {
      JsonWriter delta;
      delta.begin_object().text("role", "assistant").text("content", "").end_object();
      write_chunk(i, delta.str(), nullptr, {});
    }
  }

  void on_delta(const Delta& delta) override {
    JsonWriter json;
    json.begin_object().text("content", delta.text).end_object();
    write_chunk(delta.choice, json.str(), &delta.tokens, {});
  }

  void on_choice_end(const ChoiceEnd& end) override {
    write_chunk(end.choice, "{}", nullptr, openai_finish_reason(end.reason));
  }

  void on_done(const Usage& usage) override {
    if (answer_.stream.include_usage) {
      JsonWriter json;
      answer_.begin(json, "chat.completion.chunk");
      json.key("choices").begin_array().end_array().key("usage");
      write_openai_usage(json, usage);
      json.end_object();
      exchange_->write(sse_data(json.str()));
    }
    exchange_->write(kSseDone);
    exchange_->finish();
  }

  void on_error(const ApiError& error) override {
    exchange_->write(sse_data(error_json(error, ErrorShape::kOpenAi)));
    exchange_->finish();
  }

 private:
  void write_chunk(size_t choice, std::string_view delta, const std::vector<TokenReport>* tokens,
                   std::string_view finish_reason) {
    JsonWriter json;
    answer_.begin(json, "chat.completion.chunk");
    json.key("choices").begin_array().begin_object();
    json.integer("index", static_cast<int64_t>(choice)).raw("delta", delta);
    if (tokens != nullptr) {
      answer_.write_logprobs(json, *tokens);
    } else {
      json.null("logprobs");
    }
    if (finish_reason.empty()) {
      json.null("finish_reason");
    } else {
      json.text("finish_reason", finish_reason);
    }
    json.end_object().end_array();
    if (answer_.stream.include_usage) json.null("usage");
    json.end_object();
    exchange_->write(sse_data(json.str()));
  }

  const Answer answer_;
  const std::shared_ptr<Exchange> exchange_;
};

class ChatWhole final : public GenerationObserver {
 public:
  ChatWhole(Answer answer, std::shared_ptr<Exchange> exchange)
      : answer_(std::move(answer)), exchange_(std::move(exchange)), choices_(answer_.choices) {}

  void on_delta(const Delta& delta) override {
    Choice& choice = choices_[delta.choice];
    choice.text += delta.text;
    choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
  }

  void on_choice_end(const ChoiceEnd& end) override { choices_[end.choice].reason = end.reason; }

  void on_done(const Usage& usage) override {
    JsonWriter json;
    answer_.begin(json, "chat.completion");
    json.key("choices").begin_array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      json.begin_object().integer("index", static_cast<int64_t>(i)).key("message").begin_object();
      json.text("role", "assistant").text("content", choices_[i].text).null("refusal").end_object();
      answer_.write_logprobs(json, choices_[i].tokens);
      json.text("finish_reason", openai_finish_reason(choices_[i].reason)).end_object();
    }
    json.end_array().key("usage");
    write_openai_usage(json, usage);
    json.end_object();
    exchange_->respond({.body = json.str()});
  }

  void on_error(const ApiError& error) override {
    exchange_->respond(error_response(error, ErrorShape::kOpenAi));
  }

 private:
  struct Choice {
    std::string text;
    std::vector<TokenReport> tokens;
    FinishReason reason = FinishReason::kStop;
  };

  const Answer answer_;
  const std::shared_ptr<Exchange> exchange_;
  std::vector<Choice> choices_;
};

void read_limits(FieldReader& fields, GenerationSpec& spec) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  const auto older = fields.integer("max_tokens", 1, kMax);
  const auto newer = fields.integer("max_completion_tokens", 1, kMax);
  if (older && newer && *older != *newer) {
    fields.fail("max_tokens", "and max_completion_tokens say different things; give one");
  }
  spec.max_tokens = newer ? *newer : older.value_or(-1);
}

void read_logprobs(FieldReader& fields, SamplingParams& params) {
  params.logprobs = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, kMaxTopLogprobs);
  if (top && *top > 0 && !params.logprobs) {
    fields.fail("top_logprobs", "needs logprobs to be true");
  }
  params.top_logprobs = static_cast<int32_t>(top.value_or(0));
}

// Fields of the API that this server does not do: refused unless they ask for what happens anyway.
void refuse_others(FieldReader& fields) {
  if (const json::object* format = fields.object("response_format")) {
    FieldReader inner(*format, "response_format", fields.error());
    const std::string type = inner.required_text("type");
    if (type != "text") {
      inner.fail("type", "'" + type.substr(0, 50) +
                             "' is not supported: this server does not constrain answers yet");
    }
  }
  constexpr std::string_view kNoTools = "is not supported: this server calls no tools yet";
  fields.refuse("tools", kNoTools, json::array());
  fields.refuse("functions", kNoTools, json::array());
  if (const json::value* choice = fields.find("tool_choice")) {
    if (*choice != "none" && *choice != "auto") fields.fail("tool_choice", std::string(kNoTools));
  }
  if (const json::value* call = fields.find("function_call")) {
    if (*call != "none" && *call != "auto") fields.fail("function_call", std::string(kNoTools));
  }
  fields.boolean("parallel_tool_calls");  // of no effect without tools
  fields.refuse("modalities", "must be [\"text\"]: this server writes text", json::array{"text"});
  fields.refuse("audio", "is not supported: this server writes text");
  fields.refuse("prediction", "is not supported");
  fields.refuse("reasoning_effort", "is not supported");
  fields.refuse("verbosity", "is not supported");
  fields.refuse("web_search_options", "is not supported");
  fields.refuse("store", "is not supported: answers are not kept", false);
  if (const json::value* tier = fields.find("service_tier")) {
    if (*tier != "auto" && *tier != "default")
      fields.fail("service_tier", "must be auto or default");
  }
  fields.object("metadata");
  fields.text("safety_identifier");
  fields.text("prompt_cache_key");
}

}  // namespace

void chat_completions(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  GenerationSpec spec;
  spec.model = find_model(call, fields.text("model").value_or(""), error);
  const std::vector<ChatTurn> turns = read_messages(fields);
  const StreamOptions stream = read_stream(fields);
  read_common(fields, spec);
  read_limits(fields, spec);
  read_logprobs(fields, spec.sampling);
  const bool continues = !fields.boolean("add_generation_prompt").value_or(true);
  const json::object* variables = fields.object("chat_template_kwargs");
  refuse_others(fields);
  fields.finish();
  std::vector<Token> prompt;
  if (!error) error = chat_prompt(*spec.model, turns, variables, !continues, "messages", prompt);
  if (error) return call.respond(*error);
  spec.prompts.push_back(std::move(prompt));

  Answer answer{.model = spec.model->id,
                .tokenizer = spec.model->tokenizer,
                .fingerprint = "realm-" + call.api.version,
                .logprobs = spec.sampling.logprobs,
                .choices = static_cast<size_t>(spec.choices),
                .stream = stream};
  if (!stream.stream) {
    run_generation(call, std::move(spec),
                   std::make_unique<ChatWhole>(std::move(answer), call.exchange));
    return;
  }
  auto observer = std::make_unique<ChatStream>(std::move(answer), call.exchange);
  ChatStream* const stream_out = observer.get();
  if (run_generation(call, std::move(spec), std::move(observer))) stream_out->open();
}

}  // namespace realm::server
