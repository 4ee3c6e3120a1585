#include "server/api/schemas.h"

#include <utility>
#include <vector>

#include "base/json_writer.h"
#include "engine/sampling/params.h"

namespace realm::server {
namespace {

struct Field {
  std::string_view name;
  std::string_view type;  // a JSON type, several with '|', or empty for any
};

void write_type(JsonWriter& json, std::string_view type) {
  json.begin_object();
  if (type.find('|') == std::string_view::npos) {
    if (!type.empty()) json.text("type", type);
  } else {
    json.key("type").begin_array();
    for (size_t begin = 0; begin <= type.size();) {
      const size_t end = std::min(type.find('|', begin), type.size());
      json.text(type.substr(begin, end - begin));
      begin = end + 1;
    }
    json.end_array();
  }
  json.end_object();
}

void write_sampling(JsonWriter& json) {
  for (const SamplingField& field : sampling_fields()) {
    if (field.name == "logprobs" || field.name == "top_logprobs") continue;
    const bool is_float = std::holds_alternative<float SamplingParams::*>(field.member);
    json.key(field.name).begin_object().text("type", is_float ? "number" : "integer");
    json.number(field.min_excluded ? "exclusiveMinimum" : "minimum", field.min);
    json.number("maximum", field.max).text("description", field.help).end_object();
  }
}

Schema object(std::string_view name, std::initializer_list<Field> fields,
              std::initializer_list<std::string_view> required = {}, bool with_sampling = false) {
  JsonWriter json;
  json.begin_object().text("type", "object").key("properties").begin_object();
  for (const Field& field : fields) {
    json.key(field.name);
    write_type(json, field.type);
  }
  if (with_sampling) write_sampling(json);
  json.end_object().key("required").begin_array();
  for (const std::string_view field : required) json.text(field);
  json.end_array().end_object();
  return {name, json.str()};
}

std::vector<Schema> make_schemas() {
  return {
      object("ChatCompletionRequest",
             {{"model", "string"},
              {"messages", "array"},
              {"stream", "boolean"},
              {"stream_options", "object"},
              {"n", "integer"},
              {"stop", "string|array"},
              {"max_tokens", "integer"},
              {"max_completion_tokens", "integer"},
              {"logprobs", "boolean"},
              {"top_logprobs", "integer"},
              {"seed", "integer"},
              {"logit_bias", "object"},
              {"user", "string"},
              {"ignore_eos", "boolean"},
              {"include_stop_str_in_output", "boolean"},
              {"cache_salt", "string"},
              {"cache_prompt", "boolean"},
              {"priority", "integer"},
              {"timeout_s", "number"},
              {"chat_template_kwargs", "object"},
              {"add_generation_prompt", "boolean"}},
             {"messages"}, true),
      object("ChatCompletion", {{"id", "string"},
                                {"object", "string"},
                                {"created", "integer"},
                                {"model", "string"},
                                {"choices", "array"},
                                {"usage", "object"},
                                {"system_fingerprint", "string"}}),
      object("CompletionRequest",
             {{"model", "string"},       {"prompt", "string|array"},
              {"suffix", "string"},      {"echo", "boolean"},
              {"best_of", "integer"},    {"logprobs", "integer"},
              {"stream", "boolean"},     {"stream_options", "object"},
              {"n", "integer"},          {"stop", "string|array"},
              {"max_tokens", "integer"}, {"seed", "integer"},
              {"logit_bias", "object"},  {"user", "string"},
              {"ignore_eos", "boolean"}, {"include_stop_str_in_output", "boolean"},
              {"cache_salt", "string"},  {"cache_prompt", "boolean"},
              {"priority", "integer"},   {"timeout_s", "number"}},
             {"prompt"}, true),
      object("Completion", {{"id", "string"},
                            {"object", "string"},
                            {"created", "integer"},
                            {"model", "string"},
                            {"choices", "array"},
                            {"usage", "object"}}),
      object("ResponseRequest",
             {{"model", "string"},
              {"input", "string|array"},
              {"instructions", "string"},
              {"max_output_tokens", "integer"},
              {"stream", "boolean"},
              {"metadata", "object"},
              {"text", "object"},
              {"user", "string"}},
             {"input"}, true),
      object("Response", {{"id", "string"},
                          {"object", "string"},
                          {"status", "string"},
                          {"output", "array"},
                          {"usage", "object"}}),
      object("EmbeddingRequest",
             {{"model", "string"},
              {"input", "string|array"},
              {"encoding_format", "string"},
              {"dimensions", "integer"},
              {"user", "string"}},
             {"input"}),
      object("EmbeddingList",
             {{"object", "string"}, {"data", "array"}, {"model", "string"}, {"usage", "object"}}),
      object("OllamaEmbedRequest",
             {{"model", "string"},
              {"input", "string|array"},
              {"truncate", "boolean"},
              {"dimensions", "integer"},
              {"options", "object"},
              {"keep_alive", ""}},
             {"model"}),
      object("OllamaEmbeddings",
             {{"model", "string"}, {"embeddings", "array"}, {"prompt_eval_count", "integer"}}),
      object("OllamaEmbeddingRequest",
             {{"model", "string"}, {"prompt", "string"}, {"options", "object"}, {"keep_alive", ""}},
             {"model"}),
      object("OllamaEmbedding", {{"embedding", "array"}}),
      object("MessageRequest",
             {{"model", "string"},
              {"messages", "array"},
              {"system", "string|array"},
              {"max_tokens", "integer"},
              {"stop_sequences", "array"},
              {"stream", "boolean"},
              {"metadata", "object"}},
             {"model", "messages", "max_tokens"}, true),
      object("Message", {{"id", "string"},
                         {"type", "string"},
                         {"content", "array"},
                         {"stop_reason", "string"},
                         {"usage", "object"}}),
      object("TokenCount", {{"input_tokens", "integer"}}),
      object("OllamaChatRequest",
             {{"model", "string"},
              {"messages", "array"},
              {"stream", "boolean"},
              {"options", "object"},
              {"keep_alive", ""}},
             {"model"}),
      object("OllamaGenerateRequest",
             {{"model", "string"},
              {"prompt", "string"},
              {"system", "string"},
              {"raw", "boolean"},
              {"stream", "boolean"},
              {"options", "object"},
              {"keep_alive", ""}},
             {"model"}),
      object("OllamaAnswer", {{"model", "string"},
                              {"created_at", "string"},
                              {"done", "boolean"},
                              {"message", "object"},
                              {"response", "string"}}),
      object("OllamaModels", {{"models", "array"}}),
      object("OllamaShowRequest", {{"model", "string"}, {"name", "string"}}),
      object("OllamaModel", {{"details", "object"}, {"model_info", "object"}}),
      object("Model", {{"id", "string"},
                       {"object", "string"},
                       {"created", "integer"},
                       {"owned_by", "string"},
                       {"max_model_len", "integer"}}),
      object("ModelList", {{"object", "string"}, {"data", "array"}}),
      object("TokenizeRequest", {{"model", "string"},
                                 {"content", "string"},
                                 {"prompt", "string"},
                                 {"messages", "array"},
                                 {"add_special", "boolean"},
                                 {"parse_special", "boolean"},
                                 {"with_pieces", "boolean"},
                                 {"return_token_strs", "boolean"}}),
      object("Tokens", {{"tokens", "array"}, {"count", "integer"}, {"max_model_len", "integer"}}),
      object("DetokenizeRequest", {{"model", "string"}, {"tokens", "array"}}, {"tokens"}),
      object("Text", {{"content", "string"}, {"prompt", "string"}}),
      object("Status", {{"status", "string"}}, {"status"}),
      object("Version", {{"version", "string"}, {"server", "string"}}),
      object("OpenApi", {{"openapi", "string"}}),
      object("Error", {{"error", "object"}}, {"error"}),
      object("AnthropicError", {{"type", "string"}, {"error", "object"}}, {"error"}),
      object("OllamaError", {{"error", "string"}}, {"error"}),
  };
}

}  // namespace

std::span<const Schema> schemas() {
  static const std::vector<Schema> all = make_schemas();
  return all;
}

}  // namespace realm::server
