// What went wrong with a request, before it takes the shape of the API that was asked: OpenAI's,
// Anthropic's or ollama's. Codes of base/result.h map to HTTP here, once.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "server/http/message.h"

namespace realm::server {

struct ApiError {
  int status = 400;
  std::string message = {};
  std::string param = {};  // the field at fault; empty: none
  std::string code = {};   // "model_not_found"; empty: null
  std::optional<int> retry_after_s = {};
};

ApiError bad_field(std::string param, std::string message);
ApiError model_not_found(const std::string& model);
// kInvalidArgument 400, kNotFound 404, kUnsupported 400, kExhausted 429, kUnavailable 503,
// kCancelled 499, everything else 500. Messages of the last say nothing of the inside.
ApiError api_error(const Error& error);

enum class ErrorShape { kOpenAi, kAnthropic, kOllama };

// OpenAI's "type" for a status.
std::string_view error_type(int status);
// {"error": {"message", "type", "param", "code"}}, or the other APIs' own.
std::string error_json(const ApiError& error, ErrorShape shape);
HttpResponse error_response(const ApiError& error, ErrorShape shape);

}  // namespace realm::server
