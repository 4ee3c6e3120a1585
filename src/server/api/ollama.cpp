// ollama's API: /api/chat, /api/generate, /api/tags, /api/show, /api/ps, /api/version. Streams are
// lines of JSON, and on unless the request says otherwise.
#include <chrono>
#include <ctime>
#include <limits>
#include <utility>

#include "base/json_writer.h"
#include "server/api/chat_messages.h"
#include "server/api/endpoints.h"
#include "server/api/generation_fields.h"
#include "server/api/ollama_names.h"
#include "server/api/whole_answer.h"

namespace realm::server {
namespace {

namespace json = boost::json;

std::string utc_time(int64_t unix_s) {
  const std::time_t seconds = unix_s;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

int64_t nanoseconds(double seconds) {
  return static_cast<int64_t>(seconds * 1e9);
}

struct Answer {
  std::string model;  // as the request called it
  bool is_chat = false;
  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();

  void begin(JsonWriter& json, std::string_view text) const {
    json.begin_object().text("model", model).text("created_at", utc_time(unix_seconds()));
    if (is_chat) {
      json.key("message").begin_object().text("role", "assistant").text("content", text);
      json.end_object();
    } else {
      json.text("response", text);
    }
  }

  std::string last(std::string_view text, const ChoiceEnd& end, const Usage& usage) const {
    JsonWriter json;
    begin(json, text);
    json.boolean("done", true);
    json.text("done_reason", end.reason == FinishReason::kStop ? "stop" : "length");
    const std::chrono::duration<double> total = std::chrono::steady_clock::now() - began;
    json.integer("total_duration", nanoseconds(total.count())).integer("load_duration", 0);
    json.integer("prompt_eval_count", usage.prompt_tokens);
    json.integer("prompt_eval_duration", nanoseconds(usage.prefill_seconds));
    json.integer("eval_count", usage.generated_tokens);
    json.integer("eval_duration", nanoseconds(usage.decode_seconds)).end_object();
    return json.str();
  }
};

class OllamaStream final : public GenerationObserver {
 public:
  OllamaStream(Answer answer, std::shared_ptr<Exchange> exchange)
      : answer_(std::move(answer)), exchange_(std::move(exchange)) {}

  void open() { exchange_->begin({.content_type = "application/x-ndjson"}); }

  void on_delta(const Delta& delta) override {
    JsonWriter json;
    answer_.begin(json, delta.text);
    json.boolean("done", false).end_object();
    exchange_->write(json.line());
  }

  void on_choice_end(const ChoiceEnd& end) override { end_ = end; }

  void on_done(const Usage& usage) override {
    exchange_->write(answer_.last("", end_, usage) + "\n");
    exchange_->finish();
  }

  void on_error(const ApiError& error) override {
    exchange_->write(error_json(error, ErrorShape::kOllama) + "\n");
    exchange_->finish();
  }

 private:
  const Answer answer_;
  const std::shared_ptr<Exchange> exchange_;
  ChoiceEnd end_{.choice = 0, .reason = FinishReason::kStop};
};

class OllamaWhole final : public WholeAnswer {
 public:
  OllamaWhole(Answer answer, std::shared_ptr<Exchange> exchange)
      : WholeAnswer(std::move(exchange), ErrorShape::kOllama, 1), answer_(std::move(answer)) {}

 private:
  std::string render(const Usage& usage) override {
    return answer_.last(choices().front().text, choices().front().end, usage);
  }

  const Answer answer_;
};

// The request's "options", over ollama's defaults.
void read_options(FieldReader& fields, GenerationSpec& spec) {
  spec.sampling.temperature = 0.8f;
  spec.sampling.top_k = 40;
  spec.sampling.top_p = 0.9f;
  spec.sampling.repeat_penalty = 1.1f;
  spec.sampling.seed = random_seed();
  const json::object* options = fields.object("options");
  if (options == nullptr) return;
  FieldReader inner(*options, "options", fields.error());
  read_sampling(inner, spec.sampling);
  read_stop(inner, "stop", spec.stop);
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  // -1 and -2: until the context is full.
  const int64_t most = inner.integer("num_predict", -2, kMax).value_or(-1);
  if (most == 0) inner.fail("num_predict", "must not be 0");
  spec.max_tokens = most < 0 ? -1 : most;
  const auto context = inner.integer("num_ctx", 1, kMax);
  if (context && spec.model != nullptr && *context > spec.model->context) {
    inner.fail("num_ctx", "is at most " + std::to_string(spec.model->context) + " here (--ctx)");
  }
  inner.finish();
}

// What both endpoints have in common; true: the answer is streamed.
bool read_shared(FieldReader& fields, GenerationSpec& spec) {
  const bool stream = fields.boolean("stream").value_or(true);
  read_options(fields, spec);
  fields.refuse("format", "is not supported: this server does not constrain answers yet", "");
  fields.refuse("think", "is not supported", false);
  fields.refuse("logprobs", "is not supported", false);
  fields.refuse("top_logprobs", "is not supported", 0);
  // How long to keep the model loaded is the operator's affair here.
  fields.ignore("keep_alive");
  return stream;
}

void start(Call& call, GenerationSpec spec, Answer answer, bool stream) {
  if (stream) {
    run_stream(call, std::move(spec),
               std::make_unique<OllamaStream>(std::move(answer), call.exchange));
  } else {
    run_generation(call, std::move(spec),
                   std::make_unique<OllamaWhole>(std::move(answer), call.exchange));
  }
}

std::vector<ChatTurn> read_turns(FieldReader& fields) {
  std::vector<ChatTurn> turns;
  const json::array* array = fields.array("messages");
  for (size_t i = 0; array != nullptr && i < array->size() && !fields.error(); ++i) {
    const std::string path = "messages[" + std::to_string(i) + "]";
    const json::object* object = array->at(i).if_object();
    if (object == nullptr) {
      fields.error() = bad_field(path, path + " must be an object");
      break;
    }
    FieldReader message(*object, path, fields.error());
    ChatTurn turn{.role = message.required_text("role"),
                  .content = message.text("content").value_or("")};
    if (turn.role != "system" && turn.role != "user" && turn.role != "assistant") {
      message.fail("role", "must be one of system, user, assistant");
    }
    message.refuse("images", "is not supported: the models here read text", json::array());
    message.refuse("tool_calls", "is not supported: this server calls no tools yet", json::array());
    message.refuse("tool_name", "is not supported: this server calls no tools yet");
    message.refuse("thinking", "is not supported", "");
    message.finish();
    turns.push_back(std::move(turn));
  }
  return turns;
}

// ollama's way to ask that a model be loaded: nothing to answer.
void answer_loaded(Call& call, const Answer& answer) {
  JsonWriter json;
  answer.begin(json, "");
  json.boolean("done", true).text("done_reason", "load").end_object();
  call.exchange->respond({.body = json.line()});
}

void write_details(JsonWriter& json, const ServedModel& model) {
  char size[32];
  const double parameters = static_cast<double>(model.num_parameters);
  const bool is_large = parameters >= 1e9;
  std::snprintf(size, sizeof size, "%.1f%s", parameters / (is_large ? 1e9 : 1e6),
                is_large ? "B" : "M");
  json.key("details").begin_object().text("parent_model", "").text("format", "gguf");
  json.text("family", model.architecture).key("families").begin_array();
  json.text(model.architecture).end_array().text("parameter_size", size);
  json.text("quantization_level", model.quantization).end_object();
}

void list(Call& call, bool as_running) {
  JsonWriter json;
  json.begin_object().key("models").begin_array();
  for (const auto& model : call.api.models.all()) {
    if (!may_use(call.principal, *model)) continue;
    std::vector<std::string> names = model->aliases;
    names.insert(names.begin(), model->id);
    if (as_running) names.resize(1);  // it runs once
    for (const std::string& name : names) {
      json.begin_object().text("name", name).text("model", name);
      json.integer("size", model->size_bytes).text("digest", model->digest ? model->digest() : "");
      write_details(json, *model);
      if (as_running) {
        json.text("expires_at", "9999-12-31T23:59:59Z").integer("size_vram", 0);
        json.integer("context_length", model->context);
      } else {
        json.text("modified_at", utc_time(model->created_s));
      }
      json.end_object();
    }
  }
  call.respond(json.end_array().end_object().str());
}

}  // namespace

void ollama_chat(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  GenerationSpec spec;
  Answer answer{.model = fields.required_text("model"), .is_chat = true};
  spec.model = find_model(call.api, call.principal, plain_name(answer.model), error);
  const std::vector<ChatTurn> turns = read_turns(fields);
  const bool stream = read_shared(fields, spec);
  fields.refuse("tools", "is not supported: this server calls no tools yet", json::array());
  fields.finish();
  if (!error && turns.empty()) return answer_loaded(call, answer);
  std::vector<Token> prompt;
  if (!error) error = chat_prompt(*spec.model, turns, {}, prompt);
  if (error) return call.respond(*error);
  spec.prompts.push_back(std::move(prompt));
  start(call, std::move(spec), std::move(answer), stream);
}

void ollama_generate(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  GenerationSpec spec;
  Answer answer{.model = fields.required_text("model")};
  spec.model = find_model(call.api, call.principal, plain_name(answer.model), error);
  const std::string text = fields.text("prompt").value_or("");
  const std::string system = fields.text("system").value_or("");
  const bool raw = fields.boolean("raw").value_or(false);
  const bool stream = read_shared(fields, spec);
  fields.refuse("suffix", "is not supported here; /v1/completions takes one", "");
  fields.refuse("images", "is not supported: the models here read text", json::array());
  fields.refuse("template", "is not supported: the model's own is used", "");
  fields.refuse("context", "is not supported: send the conversation to /api/chat", json::array());
  fields.finish();
  if (!error && text.empty()) return answer_loaded(call, answer);
  std::vector<Token> prompt;
  if (!error && raw) {
    auto tokens = spec.model->tokenizer->encode(text, {.parse_special = true});
    if (tokens.ok()) {
      prompt = std::move(tokens).value();
      error = check_prompt(*spec.model, prompt, "prompt");
    } else {
      error = bad_field("prompt", tokens.error().message);
    }
  } else if (!error) {
    std::vector<ChatTurn> turns;
    if (!system.empty()) turns.push_back({.role = "system", .content = system});
    turns.push_back({.role = "user", .content = text});
    error = chat_prompt(*spec.model, turns, {.param = "prompt"}, prompt);
  }
  if (error) return call.respond(*error);
  spec.prompts.push_back(std::move(prompt));
  start(call, std::move(spec), std::move(answer), stream);
}

void ollama_tags(Call& call) {
  list(call, false);
}

void ollama_ps(Call& call) {
  list(call, true);
}

void ollama_show(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  const auto older = fields.text("name");
  const std::string name = fields.text("model").value_or(older.value_or(""));
  if (name.empty()) fields.fail("model", "is required");
  fields.boolean("verbose");
  fields.finish();
  const auto model =
      error ? nullptr : find_model(call.api, call.principal, plain_name(name), error);
  if (error) return call.respond(*error);
  JsonWriter json;
  json.begin_object().text("modelfile", "").text("parameters", "").text("template", "");
  json.text("modified_at", utc_time(model->created_s));
  write_details(json, *model);
  json.key("model_info").begin_object().text("general.architecture", model->architecture);
  json.integer("general.parameter_count", model->num_parameters);
  json.integer(model->architecture + ".context_length", model->context);
  json.integer(model->architecture + ".vocab_size", model->vocab_size).end_object();
  json.key("capabilities").begin_array();
  if (model->generates) json.text("completion");
  if (model->pooling) json.text("embedding");
  json.end_array();
  call.respond(json.end_object().str());
}

void ollama_version(Call& call) {
  JsonWriter json;
  call.respond(json.begin_object().text("version", call.api.version).end_object().str());
}

}  // namespace realm::server
