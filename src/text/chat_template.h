// Chat templates: a model's own Jinja source turns a conversation into the prompt text, exactly as
// Hugging Face transformers' apply_chat_template(tokenize=False) does. The language itself runs in
// the Rust library (ffi/); this class owns a compiled template and is what server/api and app call.
// Conversations come in as JSON text, for text/ knows no JSON library.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct realm_template;

namespace realm {

// Texts of the tokenizer's special tokens, which templates see as bos_token and so on. One that
// the model does not have stays empty and is undefined in the template.
struct ChatTemplateTokens {
  std::string bos = {};
  std::string eos = {};
  std::string unk = {};
  std::string pad = {};
};

// A moment, for strftime_now: microseconds since 1970 UTC, and what local time is ahead of UTC.
struct ChatTemplateClock {
  int64_t unix_us = 0;
  int32_t utc_offset_s = 0;
};

// Bounds of one rendering. A step is about one template instruction or 64 bytes handled.
struct ChatTemplateLimits {
  uint64_t steps_max = 4'000'000;  // grows with the input: + 32 a byte
  uint64_t output_bytes_max = 64 << 20;
};

struct ChatTemplateInput {
  std::string_view messages_json = {};   // [{"role": ..., "content": ...}, ...], at least one
  std::string_view tools_json = {};      // a list, or empty for none
  std::string_view documents_json = {};  // a list, or empty for none
  std::string_view variables_json = {};  // an object (enable_thinking...), or empty
  bool add_generation_prompt = true;
  ChatTemplateClock now = {};
  ChatTemplateLimits limits = {};
};

class ChatTemplate {
 public:
  // Error kBadModel: not a template, with the line and what is wrong there.
  static Result<ChatTemplate> compile(std::string_view source, ChatTemplateTokens tokens);

  // The prompt, special tokens as text (BOS included where the template writes it: tokenize it
  // with special tokens parsed and none added). Several threads may render at once.
  // Errors: kInvalidArgument (JSON that does not parse, a conversation that the template refuses,
  // with its words), kExhausted (a limit).
  Result<std::string> render(const ChatTemplateInput& input) const;

  // Whether the template reads a variable from outside: "tools", "enable_thinking", "documents"...
  bool reads(std::string_view variable) const;
  bool supports_tools() const { return reads("tools"); }

 private:
  struct Free {
    void operator()(realm_template* compiled) const;
  };
  ChatTemplate(realm_template* compiled, ChatTemplateTokens tokens)
      : compiled_(compiled), tokens_(std::move(tokens)) {}

  std::unique_ptr<realm_template, Free> compiled_;
  ChatTemplateTokens tokens_;
};

}  // namespace realm
