#include "server/api/api_error.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "base/json_writer.h"

namespace realm::server {
namespace {

std::string_view anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

}  // namespace

ApiError bad_field(std::string param, std::string message) {
  return {.status = 400, .message = std::move(message), .param = std::move(param)};
}

ApiError model_not_found(const std::string& model) {
  return {.status = 404,
          .message = "the model '" + model +
                     "' does not exist or you do not have access to it; /v1/models lists yours",
          .param = "model",
          .code = "model_not_found"};
}

ApiError api_error(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUnsupported:
      return {.status = 400, .message = error.message};
    case ErrorCode::kNotFound:
      return {.status = 404, .message = error.message};
    case ErrorCode::kExhausted:
      return {.status = 429,
              .message = error.message,
              .code = "rate_limit_exceeded",
              .retry_after_s = 1};
    case ErrorCode::kUnavailable:
      return {.status = 503, .message = error.message, .code = "unavailable", .retry_after_s = 1};
    case ErrorCode::kCancelled:
      return {.status = 499, .message = "the request was cancelled", .code = "cancelled"};
    case ErrorCode::kBadModel:
    case ErrorCode::kIo:
      break;
  }
  spdlog::error("a request failed: {}", error.message);
  return {.status = 500, .message = "the server failed to do this", .code = "internal_error"};
}

std::string_view error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable";
    case 505:
      return "invalid_request_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

std::string error_json(const ApiError& error, ErrorShape shape) {
  JsonWriter json;
  switch (shape) {
    case ErrorShape::kOpenAi:
      json.begin_object().key("error").begin_object();
      json.text("message", error.message).text("type", error_type(error.status));
      json.key("param");
      error.param.empty() ? json.null() : json.text(error.param);
      json.key("code");
      error.code.empty() ? json.null() : json.text(error.code);
      json.end_object().end_object();
      break;
    case ErrorShape::kAnthropic:
      json.begin_object().text("type", "error").key("error").begin_object();
      json.text("type", anthropic_type(error.status)).text("message", error.message);
      json.end_object().end_object();
      break;
    case ErrorShape::kOllama:
      json.begin_object().text("error", error.message).end_object();
      break;
  }
  return json.str();
}

HttpResponse error_response(const ApiError& error, ErrorShape shape) {
  HttpResponse response{.status = error.status, .body = error_json(error, shape)};
  if (error.retry_after_s) {
    response.headers.push_back({"retry-after", std::to_string(*error.retry_after_s)});
  }
  if (error.status == 401) response.headers.push_back({"www-authenticate", "Bearer"});
  return response;
}

}  // namespace realm::server
