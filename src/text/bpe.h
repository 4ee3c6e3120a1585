// Byte pair encoding by merge rank: GPT-2's over a byte alphabet, and the form over UTF-8
// characters with byte fallback that Gemma 4 uses. Within each word that the pre-tokenizer cuts
// out, the adjacent pair of lowest rank is merged, the leftmost first, until no pair has a rank.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "text/flat_map.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace realm {

class BpeTokenizer final : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(const Metadata& metadata,
                                                   std::unique_ptr<Vocabulary> vocabulary);

 private:
  struct Merge {
    uint32_t rank = 0;
    Token token = kNoToken;
  };
  struct Work;

  BpeTokenizer(std::unique_ptr<Vocabulary> vocabulary, PreTokenizer pre_tokenizer);
  Status read_merges(const Metadata& metadata);
  Status encode_stretch(std::string_view text, bool after_special,
                        std::vector<Token>& out) const override;
  Status encode_word(std::string_view word, Work& work, std::vector<Token>& out) const;
  Status start_symbols(std::string_view word, Work& work) const;
  const Merge* find_merge(Token left, Token right) const;
  void merge_short(Work& work) const;
  void merge_long(Work& work) const;

  PreTokenizer pre_tokenizer_;
  FlatMap64<Merge> merges_;
  // The token that a byte starts as; kNoToken where the vocabulary has none.
  std::array<Token, 256> byte_symbols_;
};

}  // namespace realm
