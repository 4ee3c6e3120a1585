// POST /v1/chat/completions: OpenAI's chat API, whole or as a stream.
#include <utility>

#include "server/api/chat_request.h"
#include "server/api/endpoints.h"
#include "server/api/ids.h"
#include "server/api/sse.h"
#include "server/api/token_json.h"
#include "server/api/whole_answer.h"

namespace realm::server {
namespace {

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

class ChatWhole final : public WholeAnswer {
 public:
  ChatWhole(Answer answer, std::shared_ptr<Exchange> exchange)
      : WholeAnswer(std::move(exchange), ErrorShape::kOpenAi, answer.choices),
        answer_(std::move(answer)) {}

 private:
  std::string render(const Usage& usage) override {
    JsonWriter json;
    answer_.begin(json, "chat.completion");
    json.key("choices").begin_array();
    int64_t index = 0;
    for (const Choice& choice : choices()) {
      json.begin_object().integer("index", index++).key("message").begin_object();
      json.text("role", "assistant").text("content", choice.text).null("refusal").end_object();
      answer_.write_logprobs(json, choice.tokens);
      json.text("finish_reason", openai_finish_reason(choice.end.reason)).end_object();
    }
    json.end_array().key("usage");
    write_openai_usage(json, usage);
    json.end_object();
    return json.str();
  }

  const Answer answer_;
};

}  // namespace

void chat_completions(Call& call) {
  boost::json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  ChatRequest request = read_chat_request(call.api, call.principal, body, error);
  if (error) return call.respond(*error);
  const GenerationSpec& spec = request.spec;
  Answer answer{.model = spec.model->id,
                .tokenizer = spec.model->tokenizer,
                .fingerprint = "realm-" + call.api.version,
                .logprobs = spec.sampling.logprobs,
                .choices = static_cast<size_t>(spec.choices),
                .stream = request.stream};
  if (request.stream.stream) {
    run_stream(call, std::move(request.spec),
               std::make_unique<ChatStream>(std::move(answer), call.exchange));
  } else {
    run_generation(call, std::move(request.spec),
                   std::make_unique<ChatWhole>(std::move(answer), call.exchange));
  }
}

}  // namespace realm::server
