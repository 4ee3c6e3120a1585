// Finds special tokens written out in a text, and cuts the text there. Tokens are tried at each
// place from the longest to the shortest, the leftmost match wins (Hugging Face's rule).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace realm {

class SpecialTokens {
 public:
  SpecialTokens(const Metadata& metadata, const Vocabulary& vocabulary);

  // A stretch of ordinary text, or a token where `token` is one.
  struct Part {
    std::string_view text;
    Token token = kNoToken;
  };
  // `parse_special`: control tokens are looked for too, but not in the `plain` spans; user-defined
  // ones always are.
  std::vector<Part> split(std::string_view text, bool parse_special,
                          std::span<const TextSpan> plain = {}) const;
  std::vector<TextSpan> find_control(std::string_view text) const;

 private:
  struct Entry {
    Token token;
    bool only_when_parsing;    // control and unknown tokens
    bool strips_left = false;  // white space beside the token is part of it
    bool strips_right = false;
  };
  const Entry* match_at(std::string_view text, bool parse_special) const;
  size_t length_of(const Entry& entry) const {
    return vocabulary_->texts[static_cast<size_t>(entry.token)].size();
  }

  const Vocabulary* vocabulary_;
  std::vector<Entry> entries_;              // by first byte, then from long to short
  std::array<uint32_t, 257> first_byte_{};  // where each first byte's entries start
  std::array<bool, 256> has_user_defined_{};
};

}  // namespace realm
