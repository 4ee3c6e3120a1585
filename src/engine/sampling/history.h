// The tokens a sequence has so far, as far back as its penalties look, with what they need ready:
// counts within the penalty window, and which tokens end a DRY sequence breaker. Kept apart from
// the text: nothing here survives the request.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/token.h"
#include "engine/sampling/params.h"

namespace realm {

// The bytes a token adds to the text (Tokenizer::piece).
using TokenText = std::function<std::string_view(Token)>;

class History {
 public:
  History(const SamplingParams& params, TokenText token_text);

  void push(Token token);

  // Of the last repeat_last_n tokens.
  const std::unordered_map<Token, int32_t>& counts() const { return counts_; }
  // The last dry_penalty_last_n tokens, oldest first.
  std::span<const Token> dry_window() const;
  // How many tokens have come since the last sequence breaker ended, dry_window().size() at most.
  size_t since_breaker() const;
  // Whether the text of `token` on its own holds a breaker: such a token is never penalized.
  bool holds_breaker(Token token) const;

 private:
  bool completes_breaker(Token token);

  size_t penalty_window_ = 0;  // 0: off
  size_t dry_window_ = 0;      // 0: off
  TokenText token_text_;
  std::vector<std::string> breakers_;
  size_t longest_breaker_ = 0;
  std::string text_tail_;  // the last longest_breaker_ - 1 bytes of text
  size_t since_breaker_ = 0;
  std::vector<Token> tokens_;  // at least as many of the last ones as both windows need
  std::unordered_map<Token, int32_t> counts_;
};

}  // namespace realm
