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
    {"POST", "/v1/responses", kInference, kOpenAi, responses, "Answer, in OpenAI's newer API",
     "ResponseRequest", "Response"},
    {"POST", "/v1/embeddings", kInference, kOpenAi, embeddings, "Vectors of texts",
     "EmbeddingRequest", "EmbeddingList"},
    {"GET", "/v1/ws", kInference, kOpenAi, nullptr, "Many chat requests over one WebSocket", "",
     ""},
    {"POST", "/v1/messages", kInference, kAnthropic, messages, "Answer, in Anthropic's API",
     "MessageRequest", "Message"},
    {"POST", "/v1/messages/count_tokens", kInference, kAnthropic, count_tokens,
     "Tokens of a conversation", "MessageRequest", "TokenCount"},
    {"POST", "/api/chat", kInference, kOllama, ollama_chat, "Answer, in ollama's API",
     "OllamaChatRequest", "OllamaAnswer"},
    {"POST", "/api/generate", kInference, kOllama, ollama_generate, "Answer one prompt",
     "OllamaGenerateRequest", "OllamaAnswer"},
    {"POST", "/api/embed", kInference, kOllama, ollama_embed, "Vectors of texts, in ollama's API",
     "OllamaEmbedRequest", "OllamaEmbeddings"},
    {"POST", "/api/embeddings", kInference, kOllama, ollama_embeddings,
     "The vector of one text, in ollama's older API", "OllamaEmbeddingRequest", "OllamaEmbedding"},
    {"GET", "/api/tags", kInference, kOllama, ollama_tags, "The models this key may use", "",
     "OllamaModels"},
    {"GET", "/api/ps", kInference, kOllama, ollama_ps, "The models that are loaded", "",
     "OllamaModels"},
    {"POST", "/api/show", kInference, kOllama, ollama_show, "One model", "OllamaShowRequest",
     "OllamaModel"},
    {"GET", "/api/version", kOpen, kOllama, ollama_version, "The server's version", "", "Version"},
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
