#include "server/api/chat_messages.h"

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "base/json_writer.h"
#include "server/api/generation_fields.h"
#include "text/content_mask.h"

namespace realm::server {
namespace {

namespace json = boost::json;

ChatTurn read_message(const json::object& object, const std::string& path,
                      std::optional<ApiError>& error) {
  FieldReader fields(object, path, error);
  ChatTurn turn;
  turn.role = fields.required_text("role");
  if (turn.role == "developer") turn.role = "system";
  if (turn.role == "tool" || turn.role == "function") {
    fields.fail("role", "'" + turn.role + "' is not supported: this server calls no tools yet");
  } else if (turn.role != "system" && turn.role != "user" && turn.role != "assistant") {
    fields.fail("role", "must be one of system, developer, user, assistant");
  }
  turn.content = read_content(fields, "content", {"text"});
  if (!fields.has("content")) fields.fail("content", "is required");
  turn.name = fields.text("name").value_or("");
  fields.refuse("tool_calls", "is not supported: this server calls no tools yet", json::array());
  fields.refuse("function_call", "is not supported: this server calls no tools yet");
  fields.refuse("tool_call_id", "is not supported: this server calls no tools yet");
  fields.refuse("refusal", "is not supported");
  fields.refuse("audio", "is not supported: this server hears and speaks no audio");
  // What OpenAI's own clients send back of an answer.
  fields.refuse("annotations", "is not supported", json::array());
  fields.finish();
  return turn;
}

}  // namespace

std::string read_content(FieldReader& fields, std::string_view name,
                         std::initializer_list<std::string_view> text_types) {
  const json::value* value = fields.find(name);
  if (value == nullptr) return {};
  if (value->is_string()) return std::string(value->get_string());
  if (!value->is_array()) {
    fields.fail(name, "must be a string or an array of parts");
    return {};
  }
  std::string text;
  const json::array& parts = value->get_array();
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string path = fields.param(name) + "[" + std::to_string(i) + "]";
    const json::object* object = parts[i].if_object();
    if (object == nullptr) {
      if (!fields.error()) fields.error() = bad_field(path, path + " must be an object");
      return {};
    }
    FieldReader part(*object, path, fields.error());
    const std::string type = part.required_text("type");
    if (std::find(text_types.begin(), text_types.end(), type) == text_types.end()) {
      part.fail("type", "'" + type.substr(0, 50) + "' is not supported: the models here read text");
      return {};
    }
    text += part.required_text("text");
    part.ignore("cache_control");
    part.refuse("annotations", "is not supported", json::array());
    part.refuse("citations", "is not supported", json::array());
    part.refuse("logprobs", "is not supported", json::array());
    part.finish();
  }
  return text;
}

std::vector<ChatTurn> read_messages(FieldReader& fields) {
  std::vector<ChatTurn> turns;
  const json::array* array = fields.array("messages");
  if (array == nullptr) {
    fields.fail("messages", "is required");
    return turns;
  }
  if (array->empty()) fields.fail("messages", "must hold at least one message");
  for (size_t i = 0; i < array->size() && !fields.error(); ++i) {
    const std::string path = fields.param("messages") + "[" + std::to_string(i) + "]";
    const json::object* object = array->at(i).if_object();
    if (object == nullptr) {
      fields.error() = bad_field(path, path + " must be an object");
      break;
    }
    turns.push_back(read_message(*object, path, fields.error()));
  }
  return turns;
}

std::optional<ApiError> chat_prompt(const ServedModel& model, const std::vector<ChatTurn>& turns,
                                    const ChatRendering& rendering, std::vector<Token>& out) {
  const std::string param(rendering.param);
  if (!model.prompts) {
    return bad_field("model", "the model '" + model.id +
                                  "' has no chat template; /v1/completions continues plain text");
  }
  const auto refused = [&](const Error& error) {
    // Also where the template's limits were hit: it is the conversation that did it.
    return bad_field(param, error.message);
  };
  std::vector<std::string_view> written;
  for (const ChatTurn& turn : turns) written.insert(written.end(), {turn.content, turn.name});
  const auto made = ContentMask::create(*model.tokenizer, written);
  if (!made.ok()) return refused(made.error());
  const ContentMask& mask = *made;
  JsonWriter messages;
  messages.begin_array();
  for (const ChatTurn& turn : turns) {
    messages.begin_object().text("role", turn.role).text("content", mask.mask(turn.content));
    if (!turn.name.empty()) messages.text("name", mask.mask(turn.name));
    messages.end_object();
  }
  messages.end_array();
  const std::string variables =
      rendering.variables == nullptr ? "" : json::serialize(*rendering.variables);
  auto rendered = model.prompts->chat_template().render(
      {.messages_json = messages.str(),
       .variables_json = variables,
       .add_generation_prompt = rendering.add_generation_prompt,
       .now = current_clock()});
  if (!rendered.ok()) return refused(rendered.error());
  MarkedPrompt marked = mask.unmask(std::move(rendered).value());
  std::string& prompt = marked.text;
  if (rendering.continue_final) {
    // What the template writes after the last message would end the turn.
    const std::string& last = turns.back().content;
    const size_t at = last.empty() ? std::string::npos : prompt.rfind(last);
    if (at == std::string::npos) {
      return bad_field(param,
                       "the model's template does not show the last message as it is, so it "
                       "cannot be continued");
    }
    prompt.resize(at + last.size());
    // What follows the last message is the template's and holds no plain span but of it.
    while (!marked.plain.empty() && marked.plain.back().end > prompt.size()) {
      marked.plain.pop_back();
    }
  }
  auto tokens = encode_prompt(*model.tokenizer, prompt, marked.plain);
  if (!tokens.ok()) return refused(tokens.error());
  out = std::move(tokens).value();
  return check_prompt(model, out, param);
}

}  // namespace realm::server
