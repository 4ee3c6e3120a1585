// Keeps what a client wrote from being read as the model's own special tokens. A chat template
// mixes both in one text: before rendering, control tokens written out in a message are put between
// two marks, characters that occur nowhere else; after it the marks are taken out again and tell
// which stretches are plain text. Messages without control tokens are not touched.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace realm {

struct MarkedPrompt {
  std::string text;
  std::vector<TextSpan> plain;  // for EncodeOptions::plain
};

class ContentMask {
 public:
  // `texts`: everything that a client wrote into the conversation. Error: kInvalidArgument where
  // they use up every private character.
  static Result<ContentMask> create(const Tokenizer& tokenizer,
                                    std::span<const std::string_view> texts);

  std::string mask(std::string_view text) const;
  MarkedPrompt unmask(std::string rendered) const;

 private:
  explicit ContentMask(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  const Tokenizer* tokenizer_;
  std::string begin_, end_;  // one character each; empty: there is nothing to mask
};

}  // namespace realm
