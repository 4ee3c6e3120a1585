// BERT's WordPiece: text is cleaned, lowered and stripped of accents as the model asks, split at
// white space and around every sign, and each word is cut into the longest tokens from its left.
// GGUF writes a token that starts a word with U+2581 in front, and one that continues it without
// "##".
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace realm {

class WpmTokenizer final : public Tokenizer {
 public:
  explicit WpmTokenizer(std::unique_ptr<Vocabulary> vocabulary);

 private:
  Status encode_stretch(std::string_view text, bool after_special,
                        std::vector<Token>& out) const override;
  void encode_word(std::string_view word, std::vector<Token>& out) const;
};

// Undoes what WordPiece's spaces add between words and signs, as Hugging Face's decoder does.
std::string clean_up_spaces(std::string_view text);

}  // namespace realm
