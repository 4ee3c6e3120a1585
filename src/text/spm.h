// SentencePiece's BPE: of all adjacent symbols whose concatenation is a token, the one of the highest
// score is merged, the leftmost among equals; characters that are no token become their bytes.
#pragma once

#include <memory>
#include <vector>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace realm {

class SpmTokenizer final : public Tokenizer {
 public:
  explicit SpmTokenizer(std::unique_ptr<Vocabulary> vocabulary);

 private:
  struct Work;
  Status encode_stretch(std::string_view text, bool after_special,
                        std::vector<Token>& out) const override;
  void consider(Work& work, int32_t left, int32_t right) const;
  Status emit(const Work& work, std::string_view symbol, std::vector<Token>& out) const;
};

// The bytes of `character` as byte tokens, or the unknown token (one for a run of such characters);
// an error where the vocabulary has neither.
Status append_fallback(const Vocabulary& vocabulary, std::string_view character,
                       std::vector<Token>& out);

}  // namespace realm
