// Tokens and log probabilities as the APIs write them.
#pragma once

#include <string>

#include "base/json_writer.h"
#include "server/api/generation.h"

namespace realm::server {

// What the token adds to a text, with U+FFFD for bytes that are no text by themselves.
std::string shown_piece(const Tokenizer& tokenizer, Token token);

// Chat completions' entry: {"token", "logprob", "bytes", "top_logprobs": [...]}.
void write_chat_logprob(JsonWriter& json, const Tokenizer& tokenizer, const TokenReport& report);

// The reason as OpenAI says it: "stop" or "length".
std::string_view openai_finish_reason(FinishReason reason);

// {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details":
// {"cached_tokens"}}
void write_openai_usage(JsonWriter& json, const Usage& usage);

}  // namespace realm::server
