// The body of a chat completion, as /v1/chat/completions and the WebSocket take it: every field of
// OpenAI's API either does what it says or is refused by name.
#pragma once

#include <boost/json/object.hpp>
#include <optional>

#include "server/api/call.h"
#include "server/api/chat_messages.h"
#include "server/api/generation_fields.h"

namespace realm::server {

struct ChatRequest {
  GenerationSpec spec;
  StreamOptions stream;
};

// Where `error` is set afterwards the result is of no use.
ChatRequest read_chat_request(const ApiContext& api, const Principal& principal,
                              const boost::json::object& body, std::optional<ApiError>& error);

}  // namespace realm::server
