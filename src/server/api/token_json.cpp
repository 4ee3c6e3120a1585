#include "server/api/token_json.h"

#include "text/utf8.h"

namespace realm::server {
namespace {

void write_token(JsonWriter& json, const Tokenizer& tokenizer, Token token, float logprob) {
  json.text("token", shown_piece(tokenizer, token)).number("logprob", logprob);
  json.key("bytes").begin_array();
  for (const char byte : tokenizer.piece(token)) json.integer(static_cast<unsigned char>(byte));
  json.end_array();
}

}  // namespace

std::string shown_piece(const Tokenizer& tokenizer, Token token) {
  std::string_view bytes = tokenizer.piece(token);
  std::string out;
  while (!bytes.empty()) {
    const Utf8Scan scan = scan_utf8(bytes);
    if (scan.kind == Utf8Scan::kComplete) {
      out += bytes.substr(0, scan.length);
    } else {
      append_utf8(0xFFFD, out);
    }
    bytes.remove_prefix(scan.length);
  }
  return out;
}

void write_chat_logprob(JsonWriter& json, const Tokenizer& tokenizer, const TokenReport& report) {
  json.begin_object();
  write_token(json, tokenizer, report.token, report.logprob);
  json.key("top_logprobs").begin_array();
  for (const TokenLogprob& top : report.top) {
    json.begin_object();
    write_token(json, tokenizer, top.token, top.logprob);
    json.end_object();
  }
  json.end_array().end_object();
}

std::string_view openai_finish_reason(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : "length";
}

void write_openai_usage(JsonWriter& json, const Usage& usage) {
  json.begin_object()
      .integer("prompt_tokens", usage.prompt_tokens)
      .integer("completion_tokens", usage.generated_tokens)
      .integer("total_tokens", usage.prompt_tokens + usage.generated_tokens);
  json.key("prompt_tokens_details")
      .begin_object()
      .integer("cached_tokens", usage.cached_tokens)
      .end_object();
  json.end_object();
}

}  // namespace realm::server
