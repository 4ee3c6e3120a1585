// A text file as windows of tokens that do not overlap: what perplexity and imatrix run over. As
// llama.cpp does it: the text is tokenized as a whole, a remainder is left out, and where the model
// asks for a BOS it replaces each window's first token.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "app/model_loader.h"
#include "base/result.h"
#include "base/token.h"

namespace realm {

struct TextWindows {
  std::vector<Token> tokens;  // of the whole text
  int64_t size = 0;           // tokens of a window
  int64_t count = 0;

  std::span<const Token> window(int64_t i) const {
    return std::span(tokens).subspan(static_cast<size_t>(i * size), static_cast<size_t>(size));
  }
};

// Tokens of a window where the user does not say.
inline constexpr int64_t kDefaultWindow = 512;

// Errors: kNotFound, kIo; kInvalidArgument where the text is not UTF-8 or shorter than min_windows.
Result<TextWindows> read_text_windows(const std::string& path, const Tokenizer& tokenizer,
                                      int64_t size, bool parse_special, int64_t min_windows);

}  // namespace realm
