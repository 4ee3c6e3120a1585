// A conversation of a request, checked and made plain: what the chat template is given. Content is
// text, whether it came as a string or in parts; parts that are no text are refused by name.
#pragma once

#include <boost/json/array.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/api/api_error.h"
#include "server/api/field_reader.h"
#include "server/api/served_model.h"

namespace realm::server {

struct ChatTurn {
  std::string role;  // system, user or assistant
  std::string content;
  std::string name = {};
};

// Text from a string or an array of parts of these types ("text", "input_text", ...).
std::string read_content(FieldReader& fields, std::string_view name,
                         std::initializer_list<std::string_view> text_types);

// OpenAI's messages. "developer" is "system".
std::vector<ChatTurn> read_messages(FieldReader& fields);

struct ChatRendering {
  const boost::json::object* variables = nullptr;  // for the template (chat_template_kwargs)
  bool add_generation_prompt = true;
  bool continue_final = false;  // the last message is the beginning of the answer
  std::string_view param = "messages";
};

// Rendered by the model's template and tokenized.
std::optional<ApiError> chat_prompt(const ServedModel& model, const std::vector<ChatTurn>& turns,
                                    const ChatRendering& rendering, std::vector<Token>& out);

}  // namespace realm::server
