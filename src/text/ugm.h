// SentencePiece's unigram model (T5 and kin): text is normalized by the model's character map, then
// cut such that the sum of the tokens' log-probabilities is greatest (Viterbi over byte offsets).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/charsmap.h"
#include "text/flat_map.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace realm {

class UgmTokenizer final : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(const Metadata& metadata,
                                                   std::unique_ptr<Vocabulary> vocabulary);

 private:
  UgmTokenizer(std::unique_ptr<Vocabulary> vocabulary, Charsmap charsmap);
  Status encode_stretch(std::string_view text, bool after_special,
                        std::vector<Token>& out) const override;
  std::string normalize_text(std::string_view text) const;

  Charsmap charsmap_;
  // A trie over the tokens that text may become: node << 8 | byte -> node, the root is 0.
  FlatMap64<uint32_t> edges_;
  std::vector<Token> node_tokens_;
  float unknown_score_ = 0;
};

}  // namespace realm
