#include "server/api/chat_request.h"

#include <limits>

#include "server/api/generation_fields.h"

namespace realm::server {
namespace {

namespace json = boost::json;

constexpr int64_t kMaxTopLogprobs = 20;

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

ChatRequest read_chat_request(const ApiContext& api, const Principal& principal,
                              const json::object& body, std::optional<ApiError>& error) {
  FieldReader fields(body, "", error);
  ChatRequest request;
  GenerationSpec& spec = request.spec;
  spec.model = find_model(api, principal, fields.text("model").value_or(""), error);
  const std::vector<ChatTurn> turns = read_messages(fields);
  request.stream = read_stream(fields);
  read_common(fields, spec);
  read_limits(fields, spec);
  read_logprobs(fields, spec.sampling);
  const bool continues = fields.boolean("continue_final_message").value_or(false);
  const bool add_prompt = fields.boolean("add_generation_prompt").value_or(!continues);
  if (continues && add_prompt) {
    fields.fail("continue_final_message", "needs add_generation_prompt to be false");
  }
  const ChatRendering rendering{.variables = fields.object("chat_template_kwargs"),
                                .add_generation_prompt = add_prompt,
                                .continue_final = continues,
                                .param = "messages"};
  refuse_others(fields);
  fields.finish();
  std::vector<Token> prompt;
  if (!error) error = chat_prompt(*spec.model, turns, rendering, prompt);
  spec.prompts.push_back(std::move(prompt));
  return request;
}

}  // namespace realm::server
