// POST /tokenize and /detokenize, as llama.cpp's server (content, tokens) and vLLM's (prompt,
// messages) have them.
#include <limits>

#include "server/api/chat_messages.h"
#include "server/api/endpoints.h"
#include "server/api/generation_fields.h"
#include "server/api/token_json.h"
#include "text/detokenizer.h"

namespace realm::server {

namespace json = boost::json;

void tokenize(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  const auto model = find_model(call.api, call.principal, fields.text("model").value_or(""), error);
  const auto content = fields.text("content");
  const auto prompt = fields.text("prompt");
  // llama.cpp's default for content, vLLM's for prompt.
  const bool add_special = fields.boolean("add_special")
                               .value_or(fields.boolean("add_special_tokens").value_or(!content));
  const bool parse_special = fields.boolean("parse_special").value_or(true);
  const bool with_pieces = fields.boolean("with_pieces").value_or(false);
  const bool with_texts = fields.boolean("return_token_strs").value_or(false);
  const bool has_messages = fields.has("messages");
  std::vector<ChatTurn> turns;
  if (has_messages) turns = read_messages(fields);
  const bool add_prompt = fields.boolean("add_generation_prompt").value_or(true);
  const json::object* variables = fields.object("chat_template_kwargs");
  fields.finish();
  if (!error && (content.has_value() + prompt.has_value() + has_messages) != 1) {
    error = bad_field("content", "give one of content, prompt and messages");
  }
  if (error) return call.respond(*error);

  std::vector<Token> tokens;
  if (has_messages) {
    error = chat_prompt(*model, turns,
                        {.variables = variables, .add_generation_prompt = add_prompt}, tokens);
    // An over-long conversation can be counted all the same.
    if (error && error->code == "context_length_exceeded") error.reset();
  } else {
    auto encoded = model->tokenizer->encode(
        content ? *content : *prompt, {.add_bos_eos = add_special, .parse_special = parse_special});
    if (!encoded.ok()) {
      error = api_error(encoded.error());
    } else {
      tokens = std::move(encoded).value();
    }
  }
  if (error) return call.respond(*error);
  JsonWriter json;
  json.begin_object().integer("count", static_cast<int64_t>(tokens.size()));
  json.integer("max_model_len", model->context).key("tokens").begin_array();
  for (const Token token : tokens) {
    if (with_pieces) {
      json.begin_object().integer("id", token);
      json.text("piece", shown_piece(*model->tokenizer, token)).end_object();
    } else {
      json.integer(token);
    }
  }
  json.end_array();
  if (with_texts) {
    json.key("token_strs").begin_array();
    for (const Token token : tokens) json.text(model->tokenizer->token_text(token));
    json.end_array();
  }
  call.respond(json.end_object().str());
}

void detokenize(Call& call) {
  json::object body;
  if (!read_body(call, body)) return;
  std::optional<ApiError> error;
  FieldReader fields(body, "", error);
  const auto model = find_model(call.api, call.principal, fields.text("model").value_or(""), error);
  const json::array* array = fields.array("tokens");
  if (array == nullptr) fields.fail("tokens", "is required");
  fields.finish();
  std::vector<Token> tokens;
  for (size_t i = 0; !error && i < array->size(); ++i) {
    const json::value& value = array->at(i);
    if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() >= model->vocab_size) {
      error = bad_field("tokens", "tokens[" + std::to_string(i) + "] is not in 0.." +
                                      std::to_string(model->vocab_size - 1));
      break;
    }
    tokens.push_back(static_cast<Token>(value.get_int64()));
  }
  if (error) return call.respond(*error);
  StreamingDetokenizer detokenizer(*model->tokenizer, true, true);
  std::string text;
  for (const Token token : tokens) text += detokenizer.push(token);
  text += detokenizer.finish();
  JsonWriter json;
  json.begin_object().text("content", text).text("prompt", text).end_object();
  call.respond(json.str());
}

}  // namespace realm::server
