// POST /v1/responses: OpenAI's newer API, its text part. Answers are not kept, so nothing refers to
// an earlier one.
#include <limits>
#include <optional>
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

// What the response object repeats of the request.
struct Answer {
  std::string id = random_id("resp_");
  std::string item_id = random_id("msg_");
  int64_t created_s = unix_seconds();
  std::string model;
  std::optional<std::string> instructions, user;
  int64_t max_output_tokens = -1;
  double temperature = 1, top_p = 1;
  std::string metadata_json = "{}";

  // `state`: in_progress, completed, incomplete or failed.
  std::string response(std::string_view state, std::string_view output_json, const Usage* usage,
                       const ApiError* error) const {
    JsonWriter json;
    json.begin_object().text("id", id).text("object", "response").integer("created_at", created_s);
    json.text("status", state).boolean("background", false).key("error");
    if (error == nullptr) {
      json.null();
    } else {
      json.begin_object().text("code", "server_error").text("message", error->message).end_object();
    }
    json.key("incomplete_details");
    if (state == "incomplete") {
      json.begin_object().text("reason", "max_output_tokens").end_object();
    } else {
      json.null();
    }
    write_text(json, "instructions", instructions);
    json.key("max_output_tokens");
    max_output_tokens < 0 ? json.null() : json.integer(max_output_tokens);
    json.text("model", model).raw("output", output_json);
    json.boolean("parallel_tool_calls", true).null("previous_response_id");
    json.raw("reasoning", R"({"effort": null, "summary": null})").boolean("store", false);
    json.number("temperature", temperature).raw("text", R"({"format": {"type": "text"}})");
    json.text("tool_choice", "auto").raw("tools", "[]").number("top_p", top_p);
    json.text("truncation", "disabled").key("usage");
    if (usage == nullptr) {
      json.null();
    } else {
      write_usage(json, *usage);
    }
    write_text(json, "user", user);
    json.raw("metadata", metadata_json);
    return json.end_object().str();
  }

  static void write_text(JsonWriter& json, std::string_view name,
                         const std::optional<std::string>& value) {
    json.key(name);
    value ? json.text(*value) : json.null();
  }

  static void write_usage(JsonWriter& json, const Usage& usage) {
    json.begin_object().integer("input_tokens", usage.prompt_tokens);
    json.key("input_tokens_details").begin_object();
    json.integer("cached_tokens", usage.cached_tokens).end_object();
    json.integer("output_tokens", usage.generated_tokens);
    json.raw("output_tokens_details", R"({"reasoning_tokens": 0})");
    json.integer("total_tokens", usage.prompt_tokens + usage.generated_tokens).end_object();
  }

  static std::string part(std::string_view text) {
    JsonWriter json;
    json.begin_object().text("type", "output_text").text("text", text);
    json.raw("annotations", "[]").raw("logprobs", "[]");
    return json.end_object().str();
  }

  std::string item(std::string_view state, std::string_view content_json) const {
    JsonWriter json;
    json.begin_object().text("id", item_id).text("type", "message").text("status", state);
    json.text("role", "assistant").raw("content", content_json);
    return json.end_object().str();
  }

  static std::string list(std::string_view entry) { return "[" + std::string(entry) + "]"; }
};

std::string_view state_of(const ChoiceEnd& end) {
  return end.reason == FinishReason::kStop ? "completed" : "incomplete";
}

class ResponseStream final : public GenerationObserver {
 public:
  ResponseStream(Answer answer, std::shared_ptr<Exchange> exchange)
      : answer_(std::move(answer)), exchange_(std::move(exchange)) {}

  void open() {
    exchange_->begin(sse_head(), std::string(kSsePing));
    const std::string begun = answer_.response("in_progress", "[]", nullptr, nullptr);
    write("response.created", [&](JsonWriter& json) { json.raw("response", begun); });
    write("response.in_progress", [&](JsonWriter& json) { json.raw("response", begun); });
    write("response.output_item.added", [&](JsonWriter& json) {
      json.integer("output_index", 0).raw("item", answer_.item("in_progress", "[]"));
    });
    write_in_part("response.content_part.added",
                  [](JsonWriter& json) { json.raw("part", Answer::part("")); });
  }

  void on_delta(const Delta& delta) override {
    text_ += delta.text;
    write_in_part("response.output_text.delta",
                  [&](JsonWriter& json) { json.text("delta", delta.text).raw("logprobs", "[]"); });
  }

  void on_choice_end(const ChoiceEnd& end) override { end_ = end; }

  void on_done(const Usage& usage) override {
    write_in_part("response.output_text.done",
                  [&](JsonWriter& json) { json.text("text", text_).raw("logprobs", "[]"); });
    const std::string part = Answer::part(text_);
    write_in_part("response.content_part.done", [&](JsonWriter& json) { json.raw("part", part); });
    const std::string_view state = state_of(end_);
    const std::string item = answer_.item(state, Answer::list(part));
    write("response.output_item.done",
          [&](JsonWriter& json) { json.integer("output_index", 0).raw("item", item); });
    write("response." + std::string(state), [&](JsonWriter& json) {
      json.raw("response", answer_.response(state, Answer::list(item), &usage, nullptr));
    });
    exchange_->finish();
  }

  void on_error(const ApiError& error) override {
    write("response.failed", [&](JsonWriter& json) {
      json.raw("response", answer_.response("failed", "[]", nullptr, &error));
    });
    exchange_->finish();
  }

 private:
  template <typename Fill>
  void write(const std::string& type, Fill fill) {
    JsonWriter json;
    json.begin_object().text("type", type).integer("sequence_number", sequence_++);
    fill(json);
    json.end_object();
    exchange_->write(sse_event(type, json.str()));
  }

  template <typename Fill>
  void write_in_part(const std::string& type, Fill fill) {
    write(type, [&](JsonWriter& json) {
      json.text("item_id", answer_.item_id).integer("output_index", 0).integer("content_index", 0);
      fill(json);
    });
  }

  const Answer answer_;
  const std::shared_ptr<Exchange> exchange_;
  int64_t sequence_ = 0;
  std::string text_;
  ChoiceEnd end_{.choice = 0, .reason = FinishReason::kStop};
};

class ResponseWhole final : public WholeAnswer {
 public:
  ResponseWhole(Answer answer, std::shared_ptr<Exchange> exchange)
      : WholeAnswer(std::move(exchange), ErrorShape::kOpenAi, 1), answer_(std::move(answer)) {}

 private:
  std::string render(const Usage& usage) override {
    const Choice& choice = choices().front();
    const std::string_view state = state_of(choice.end);
    const std::string item = answer_.item(state, Answer::list(Answer::part(choice.text)));
    return answer_.response(state, Answer::list(item), &usage, nullptr);
  }

  const Answer answer_;
};

ChatTurn read_item(const json::object& object, const std::string& path,
                   std::optional<ApiError>& error) {
  FieldReader fields(object, path, error);
  const std::string type = fields.text("type").value_or("message");
  ChatTurn turn;
  if (type != "message") {
    fields.fail("type", "'" + type.substr(0, 50) + "' is not supported: only messages are");
    return turn;
  }
  turn.role = fields.required_text("role");
  if (turn.role == "developer") turn.role = "system";
  if (turn.role != "system" && turn.role != "user" && turn.role != "assistant") {
    fields.fail("role", "must be one of system, developer, user, assistant");
  }
  if (!fields.has("content")) fields.fail("content", "is required");
  turn.content = read_content(fields, "content", {"input_text", "output_text"});
  // Of an answer that is sent back.
  fields.text("id");
  fields.text("status");
  fields.finish();
  return turn;
}

std::vector<ChatTurn> read_turns(FieldReader& fields, const std::optional<std::string>& system) {
  std::vector<ChatTurn> turns;
  if (system) turns.push_back({.role = "system", .content = *system});
  const json::value* input = fields.find("input");
  if (input == nullptr) {
    fields.fail("input", "is required");
  } else if (input->is_string()) {
    turns.push_back({.role = "user", .content = std::string(input->get_string())});
  } else if (!input->is_array() || input->get_array().empty()) {
    fields.fail("input", "must be a text or a list of messages");
  } else {
    const json::array& array = input->get_array();
    for (size_t i = 0; i < array.size() && !fields.error(); ++i) {
      const std::string path = "input[" + std::to_string(i) + "]";
      const json::object* object = array[i].if_object();
      if (object == nullptr) {
        fields.error() = bad_field(path, path + " must be an object");
        break;
      }
      turns.push_back(read_item(*object, path, fields.error()));
    }
  }
  return turns;
}

void refuse_others(FieldReader& fields) {
  constexpr std::string_view kNotKept = "is not supported: answers are not kept";
  fields.refuse("store", kNotKept, false);
  fields.refuse("previous_response_id", kNotKept);
  fields.refuse("conversation", kNotKept);
  fields.refuse("background", kNotKept, false);
  fields.refuse("prompt", "is not supported: this server stores no prompts");
  fields.refuse("tools", "is not supported: this server calls no tools yet", json::array());
  fields.refuse("include", "is not supported", json::array());
  fields.refuse("truncation", "must be disabled: nothing is cut silently", "disabled");
  fields.refuse("top_logprobs", "is not supported", 0);
  if (const json::value* choice = fields.find("tool_choice")) {
    if (*choice != "none" && *choice != "auto") fields.fail("tool_choice", "must be none or auto");
  }
  if (const json::object* reasoning = fields.object("reasoning")) {
    FieldReader inner(*reasoning, "reasoning", fields.error());
    inner.refuse("effort", "is not supported", "none");
    inner.refuse("summary", "is not supported");
    inner.refuse("generate_summary", "is not supported");
    inner.finish();
  }
  if (const json::object* text = fields.object("text")) {
    FieldReader inner(*text, "text", fields.error());
    if (const json::object* format = inner.object("format")) {
      FieldReader kind(*format, "text.format", fields.error());
      if (kind.required_text("type") != "text") {
        kind.fail("type", "must be text: this server does not constrain answers yet");
      }
    }
    inner.refuse("verbosity", "is not supported");
    inner.finish();
  }
  if (const json::value* tier = fields.find("service_tier")) {
    if (*tier != "auto" && *tier != "default")
      fields.fail("service_tier", "must be auto or default");
  }
  fields.boolean("parallel_tool_calls");
  fields.integer("max_tool_calls", 1, std::numeric_limits<int32_t>::max());
  fields.text("safety_identifier");
  fields.text("prompt_cache_key");
}

}  // namespace

void responses(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  GenerationSpec spec;
  Answer answer;
  spec.model = find_model(call.api, call.principal, fields.text("model").value_or(""), error);
  answer.instructions = fields.text("instructions");
  const std::vector<ChatTurn> turns = read_turns(fields, answer.instructions);
  spec.max_tokens =
      fields.integer("max_output_tokens", 1, std::numeric_limits<int32_t>::max()).value_or(-1);
  const bool stream = fields.boolean("stream").value_or(false);
  if (const json::object* options = fields.object("stream_options")) {
    FieldReader inner(*options, "stream_options", error);
    inner.refuse("include_obfuscation", "is not done here", false);
    inner.finish();
  }
  read_sampling(fields, spec.sampling);
  answer.user = fields.text("user");
  if (const json::object* metadata = fields.object("metadata")) {
    JsonWriter json;
    json.begin_object();
    for (const auto& entry : *metadata) {
      if (!entry.value().is_string()) fields.fail("metadata", "must hold strings");
      if (entry.value().is_string()) json.text(entry.key(), entry.value().get_string());
    }
    answer.metadata_json = json.end_object().str();
  }
  refuse_others(fields);
  fields.finish();
  std::vector<Token> prompt;
  if (!error) error = chat_prompt(*spec.model, turns, {.param = "input"}, prompt);
  if (error) return call.respond(*error);
  spec.prompts.push_back(std::move(prompt));
  answer.model = spec.model->id;
  answer.max_output_tokens = spec.max_tokens;
  answer.temperature = spec.sampling.temperature;
  answer.top_p = spec.sampling.top_p;
  if (stream) {
    run_stream(call, std::move(spec),
               std::make_unique<ResponseStream>(std::move(answer), call.exchange));
  } else {
    run_generation(call, std::move(spec),
                   std::make_unique<ResponseWhole>(std::move(answer), call.exchange));
  }
}

}  // namespace realm::server
