// The chat on a terminal: prompts, answers as they come, /commands. It knows neither the model nor
// the terminal's ways: the model is behind ChatBackend, which cmd_run.cpp binds to the engine, and
// lines and output are functions, which cmd_run.cpp binds to LineEditor and stdout and the tests to
// strings.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "app/terminal/conversation.h"
#include "base/result.h"

namespace realm {

struct AnswerStats {
  // OpenAI's words: stop, length; and context where the context is full, cancelled where Ctrl-C
  // ended it.
  std::string finish_reason;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

struct ChatBackend {
  // Answers the last of `messages`. Calls on_text with each piece of the answer, whole characters
  // only; looks at `stop_flag` at least once a token.
  std::function<Result<AnswerStats>(
      std::span<const ChatMessage> messages, const AnswerOptions& options,
      const std::function<void(std::string_view)>& on_text, const std::atomic<bool>& stop_flag)>
      answer;
  std::string model_name;
  int64_t context_tokens = 0;
};

struct LineRead {
  enum class Kind { kLine, kInterrupted, kEnd } kind;
  std::string text;
};

struct ChatTerminal {
  std::function<LineRead(std::string_view prompt)> read_line;
  std::function<void(std::string_view)> write;  // shown at once
  // Raised by Ctrl-C; settle() is called when that was dealt with.
  const std::atomic<bool>* stop_flag = nullptr;
  std::function<void()> settle;
  // Raised when the program is asked to end (SIGTERM).
  std::function<bool()> ending;
  bool color = false;
};

struct ChatSettings {
  bool show_stats = false;  // a line with tokens and speed behind each answer
};

// Until /bye, Ctrl-D or the end of the program is asked for. An answer that fails is an error on
// the screen and not the end of the chat.
void run_chat(const ChatBackend& backend, const ChatTerminal& terminal, Conversation conversation,
              const ChatSettings& settings);

// "12 tokens, 34.5 tok/s; prompt 56 tokens (7 cached), 890 tok/s".
std::string describe_stats(const AnswerStats& stats);

}  // namespace realm
