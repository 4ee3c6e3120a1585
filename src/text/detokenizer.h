// Token by token to text that can be sent at once: whole UTF-8 characters only. One per stream; it
// refers to the tokenizer, which must outlive it.
#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace realm {

class StreamingDetokenizer {
 public:
  // `special`: control tokens are rendered. `strip_leading_space`: the stream starts a text, so
  // that SentencePiece's dummy prefix is dropped; false where it continues a prompt.
  explicit StreamingDetokenizer(const Tokenizer& tokenizer, bool special = false,
                                bool strip_leading_space = false);

  // The text that is complete after this token; may be empty. Bytes that start a character which a
  // later token may complete are held back; bytes that no token can make valid any more become
  // U+FFFD, one for each maximal ill-formed piece, as in the Unicode standard's recommendation.
  std::string push(Token token);
  // The end of the stream: what was held back becomes U+FFFD.
  std::string finish();
  // Bytes held back now.
  std::string_view pending() const { return pending_; }

 private:
  const Tokenizer* tokenizer_;
  bool special_;
  bool strip_leading_space_;
  std::string pending_;
};

}  // namespace realm
