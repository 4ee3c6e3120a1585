// SentencePiece's BPE: of all adjacent symbols whose concatenation is a token, the one of the
// highest score is merged, the leftmost among equals; characters that are no token become their
// bytes. A merge can only cross two neighbouring characters that stand side by side in some token,
// so the text is cut wherever they do not: mostly in front of every word. The cuts change no result
// and keep the work per word small.
#pragma once

#include <memory>
#include <vector>

#include "text/flat_map.h"
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
  Status encode_segment(std::string_view segment, Work& work, std::vector<Token>& out) const;
  void merge_short(Work& work) const;
  void merge_long(Work& work) const;
  // The token that two neighbouring symbols make; notes how unused ones were put together.
  Token joined(Work& work, std::string_view left, std::string_view right) const;
  Status emit(const Work& work, std::string_view symbol, std::vector<Token>& out) const;

  FlatMap64<bool> neighbours_;  // pairs of characters inside tokens
};

// The bytes of `character` as byte tokens, or the unknown token (one for a run of such characters);
// an error where the vocabulary has neither.
Status append_fallback(const Vocabulary& vocabulary, std::string_view character,
                       std::vector<Token>& out);

}  // namespace realm
