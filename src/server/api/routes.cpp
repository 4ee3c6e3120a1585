#include "server/api/routes.h"

#include <array>

#include "server/api/endpoints.h"

namespace realm::server {
namespace {

using enum Access;
using enum ErrorShape;

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", kInference, kOpenAi, chat_completions, "Answer a conversation",
     "ChatCompletionRequest", "ChatCompletion"},
    {"POST", "/v1/completions", kInference, kOpenAi, completions, "Continue a text",
     "CompletionRequest", "Completion"},
    {"GET", "/v1/models", kInference, kOpenAi, list_models, "The models this key may use", "",
     "ModelList"},
    {"GET", "/v1/models/{model}", kInference, kOpenAi, show_model, "One model", "", "Model"},
    {"POST", "/tokenize", kInference, kOpenAi, tokenize, "Text to token ids", "TokenizeRequest",
     "Tokens"},
    {"POST", "/detokenize", kInference, kOpenAi, detokenize, "Token ids to text",
     "DetokenizeRequest", "Text"},
    {"GET", "/health", kOpen, kOpenAi, health, "Whether the server works", "", "Status"},
    {"GET", "/ready", kOpen, kOpenAi, ready, "Whether a request would be taken now", "", "Status"},
    {"GET", "/version", kOpen, kOpenAi, version, "The server's version", "", "Version"},
    {"GET", "/metrics", kMetrics, kOpenAi, metrics, "Counters in Prometheus' text format", "",
     "text"},
    {"GET", "/openapi.json", kOpen, kOpenAi, openapi, "This API, described", "", "OpenApi"},
};

constexpr std::string_view kRest = "{model}";

bool matches(const Route& route, std::string_view path) {
  if (!route.path.ends_with(kRest)) return route.path == path;
  const std::string_view prefix = route.path.substr(0, route.path.size() - kRest.size());
  return path.starts_with(prefix) && path.size() > prefix.size();
}

}  // namespace

std::span<const Route> routes() {
  return kRoutes;
}

const Route* find_route(std::string_view method, std::string_view path, bool& other_method) {
  // What answers GET answers HEAD, without the body.
  if (method == "HEAD") method = "GET";
  other_method = false;
  for (const Route& route : kRoutes) {
    if (!matches(route, path)) continue;
    if (route.method == method) return &route;
    other_method = true;
  }
  return nullptr;
}

std::string allowed_methods(std::string_view path) {
  std::string methods;
  for (const Route& route : kRoutes) {
    if (!matches(route, path)) continue;
    methods += methods.empty() ? "" : ", ";
    methods += route.method;
    if (route.method == "GET" && route.handler != nullptr) methods += ", HEAD";
  }
  return methods;
}

}  // namespace realm::server
