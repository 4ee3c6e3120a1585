// A conversation with its settings, as the terminal chat keeps, saves and loads it. Plain data and
// JSON; no model and no terminal.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/sampling/params.h"

namespace realm {

struct ChatMessage {
  std::string role;  // system, user, assistant
  std::string content;
};

struct AnswerOptions {
  SamplingParams sampling;
  int64_t max_tokens = -1;  // -1: no limit but the context
  std::vector<std::string> stop;
};

struct Conversation {
  std::string system;  // empty: none
  std::vector<ChatMessage> messages;
  AnswerOptions options;

  // The system message, where there is one, and the others.
  std::vector<ChatMessage> all_messages() const;
};

// [{"role": ..., "content": ...}, ...], as chat templates take it.
std::string messages_json(std::span<const ChatMessage> messages);

// `name` as in JSON or on the command line: a sampling field, seed or max_tokens. Error
// kInvalidArgument with the nearest name or the range.
Status set_option(AnswerOptions& options, std::string_view name, std::string_view value);
// "temperature 0.8" and so on, a line each: what differs from the defaults of the engine, the seed
// and the limits.
std::string describe_options(const AnswerOptions& options);

// The file appears whole or not at all.
Status save_conversation(const Conversation& conversation, const std::string& path);
// Errors: kNotFound, kIo, kInvalidArgument naming the field.
Result<Conversation> load_conversation(const std::string& path, const AnswerOptions& defaults);

}  // namespace realm
