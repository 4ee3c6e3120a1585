// POST /v1/messages and /v1/messages/count_tokens: Anthropic's API, its text part.
#include <limits>
#include <utility>

#include "server/api/chat_messages.h"
#include "server/api/endpoints.h"
#include "server/api/generation_fields.h"
#include "server/api/ids.h"
#include "server/api/sse.h"
#include "server/api/token_json.h"
#include "server/api/whole_answer.h"

namespace realm::server {
namespace {

namespace json = boost::json;

constexpr std::string_view kPing = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

std::string_view stop_reason(const ChoiceEnd& end) {
  if (end.reason != FinishReason::kStop) return "max_tokens";
  return end.stop_text ? "stop_sequence" : "end_turn";
}

void write_stop(JsonWriter& json, const ChoiceEnd& end) {
  json.text("stop_reason", stop_reason(end)).key("stop_sequence");
  end.stop_text ? json.text(*end.stop_text) : json.null();
}

void write_usage(JsonWriter& json, const Usage& usage) {
  json.key("usage")
      .begin_object()
      .integer("input_tokens", usage.prompt_tokens - usage.cached_tokens)
      .integer("cache_creation_input_tokens", 0)
      .integer("cache_read_input_tokens", usage.cached_tokens)
      .integer("output_tokens", usage.generated_tokens)
      .end_object();
}

struct Answer {
  std::string id = random_id("msg_");
  std::string model;
  int64_t prompt_tokens = 0;

  void begin(JsonWriter& json) const {
    json.begin_object()
        .text("id", id)
        .text("type", "message")
        .text("role", "assistant")
        .text("model", model);
  }
};

class MessageStream final : public GenerationObserver {
 public:
  MessageStream(Answer answer, std::shared_ptr<Exchange> exchange)
      : answer_(std::move(answer)), exchange_(std::move(exchange)) {}

  void open() {
    exchange_->begin(sse_head(), std::string(kPing));
    JsonWriter start;
    start.begin_object().text("type", "message_start").key("message");
    answer_.begin(start);
    start.key("content").begin_array().end_array();
    start.null("stop_reason").null("stop_sequence");
    write_usage(start, {.prompt_tokens = answer_.prompt_tokens});
    start.end_object().end_object();
    exchange_->write(sse_event("message_start", start.str()));
    exchange_->write(sse_event(
        "content_block_start",
        R"({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})"));
    exchange_->write(kPing);
  }

  void on_delta(const Delta& delta) override {
    JsonWriter json;
    json.begin_object().text("type", "content_block_delta").integer("index", 0).key("delta");
    json.begin_object().text("type", "text_delta").text("text", delta.text).end_object();
    json.end_object();
    exchange_->write(sse_event("content_block_delta", json.str()));
  }

  void on_choice_end(const ChoiceEnd& end) override { end_ = end; }

  void on_done(const Usage& usage) override {
    exchange_->write(
        sse_event("content_block_stop", R"({"type": "content_block_stop", "index": 0})"));
    JsonWriter json;
    json.begin_object().text("type", "message_delta").key("delta").begin_object();
    write_stop(json, end_);
    json.end_object();
    write_usage(json, usage);
    json.end_object();
    exchange_->write(sse_event("message_delta", json.str()));
    exchange_->write(sse_event("message_stop", R"({"type": "message_stop"})"));
    exchange_->finish();
  }

  void on_error(const ApiError& error) override {
    exchange_->write(sse_event("error", error_json(error, ErrorShape::kAnthropic)));
    exchange_->finish();
  }

 private:
  const Answer answer_;
  const std::shared_ptr<Exchange> exchange_;
  ChoiceEnd end_{.choice = 0, .reason = FinishReason::kStop};
};

class MessageWhole final : public WholeAnswer {
 public:
  MessageWhole(Answer answer, std::shared_ptr<Exchange> exchange)
      : WholeAnswer(std::move(exchange), ErrorShape::kAnthropic, 1), answer_(std::move(answer)) {}

 private:
  std::string render(const Usage& usage) override {
    const Choice& choice = choices().front();
    JsonWriter json;
    answer_.begin(json);
    json.key("content").begin_array().begin_object();
    json.text("type", "text").text("text", choice.text).end_object().end_array();
    write_stop(json, choice.end);
    write_usage(json, usage);
    json.end_object();
    return json.str();
  }

  const Answer answer_;
};

// The conversation: system from its own field, messages of user and assistant.
std::vector<ChatTurn> read_turns(FieldReader& fields) {
  std::vector<ChatTurn> turns;
  std::string system = read_content(fields, "system", {"text"});
  if (!system.empty()) turns.push_back({.role = "system", .content = std::move(system)});
  const json::array* array = fields.array("messages");
  if (array == nullptr || array->empty()) {
    fields.fail("messages", "is required and holds at least one message");
    return turns;
  }
  for (size_t i = 0; i < array->size() && !fields.error(); ++i) {
    const std::string path = "messages[" + std::to_string(i) + "]";
    const json::object* object = array->at(i).if_object();
    if (object == nullptr) {
      fields.error() = bad_field(path, path + " must be an object");
      break;
    }
    FieldReader message(*object, path, fields.error());
    ChatTurn turn{.role = message.required_text("role"), .content = {}};
    if (turn.role != "user" && turn.role != "assistant") {
      message.fail("role", "must be user or assistant");
    }
    if (!message.has("content")) message.fail("content", "is required");
    turn.content = read_content(message, "content", {"text"});
    message.finish();
    turns.push_back(std::move(turn));
  }
  return turns;
}

void refuse_others(FieldReader& fields) {
  fields.refuse("tools", "is not supported: this server calls no tools yet", json::array());
  fields.refuse("tool_choice", "is not supported: this server calls no tools yet");
  if (const json::object* thinking = fields.object("thinking")) {
    FieldReader inner(*thinking, "thinking", fields.error());
    if (inner.required_text("type") != "disabled") inner.fail("type", "must be disabled");
    inner.finish();
  }
  if (const json::object* metadata = fields.object("metadata")) {
    FieldReader inner(*metadata, "metadata", fields.error());
    inner.text("user_id");
    inner.finish();
  }
  if (const json::value* tier = fields.find("service_tier")) {
    if (*tier != "auto" && *tier != "standard_only") {
      fields.fail("service_tier", "must be auto or standard_only");
    }
  }
}

struct MessagesRequest {
  GenerationSpec spec;
  bool stream = false;
};

MessagesRequest read_request(Call& call, const json::object& body, bool counts_only,
                             std::optional<ApiError>& error) {
  FieldReader fields(body, "", error);
  MessagesRequest request;
  GenerationSpec& spec = request.spec;
  spec.model = find_model(call.api, call.principal, fields.required_text("model"), error);
  const std::vector<ChatTurn> turns = read_turns(fields);
  if (!counts_only) {
    const auto most = fields.integer("max_tokens", 1, std::numeric_limits<int32_t>::max());
    if (!most) fields.fail("max_tokens", "is required");
    spec.max_tokens = most.value_or(1);
    request.stream = fields.boolean("stream").value_or(false);
    read_stop(fields, "stop_sequences", spec.stop);
    read_sampling(fields, spec.sampling);
  }
  refuse_others(fields);
  fields.finish();
  std::vector<Token> prompt;
  const bool continues = !turns.empty() && turns.back().role == "assistant";
  if (!error) {
    error = chat_prompt(*spec.model, turns,
                        {.add_generation_prompt = !continues, .continue_final = continues}, prompt);
  }
  spec.prompts.push_back(std::move(prompt));
  return request;
}

}  // namespace

void messages(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  MessagesRequest request = read_request(call, body, false, error);
  if (error) return call.respond(*error);
  Answer answer{.model = request.spec.model->id,
                .prompt_tokens = static_cast<int64_t>(request.spec.prompts[0].size())};
  if (request.stream) {
    run_stream(call, std::move(request.spec),
               std::make_unique<MessageStream>(std::move(answer), call.exchange));
  } else {
    run_generation(call, std::move(request.spec),
                   std::make_unique<MessageWhole>(std::move(answer), call.exchange));
  }
}

void count_tokens(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  const MessagesRequest request = read_request(call, body, true, error);
  // An over-long conversation can be counted all the same.
  if (error && error->code != "context_length_exceeded") return call.respond(*error);
  JsonWriter json;
  json.begin_object()
      .integer("input_tokens", static_cast<int64_t>(request.spec.prompts[0].size()))
      .end_object();
  call.respond(json.str());
}

}  // namespace realm::server
