// The vocabulary of a model file, checked: every id that any code below it looks at lies inside it,
// texts are unique, byte tokens name a byte. Shared by all kinds of tokenizers, which read it and
// never change it.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/metadata.h"
#include "text/pre_tokenizer_table.h"
#include "text/tokenizer.h"

namespace realm {

enum class VocabularyKind {
  kSpm,  // SentencePiece BPE: merges by score ("llama")
  kBpe,  // merges by rank ("gpt2", "gemma4")
  kWpm,  // WordPiece ("bert")
  kUgm,  // SentencePiece unigram ("t5")
};

class Vocabulary {
 public:
  static Result<std::unique_ptr<Vocabulary>> create(const Metadata& metadata);

  Token size() const { return static_cast<Token>(texts.size()); }
  bool contains(Token token) const { return token >= 0 && token < size(); }
  std::optional<Token> find(std::string_view text) const;
  // The same among the tokens that ordinary text may become: control, unknown and byte tokens can
  // not be spelled, or a user could forge them.
  std::optional<Token> find_spellable(std::string_view text) const;
  bool has(Token token, TokenAttribute attribute) const {
    return attributes[static_cast<size_t>(token)] == attribute;
  }

  std::string model;  // tokenizer.ggml.model
  VocabularyKind kind = VocabularyKind::kBpe;
  const PreTokenizerRow* pre = nullptr;  // of kBpe only

  std::vector<std::string> texts;
  std::vector<TokenAttribute> attributes;
  std::vector<float> scores;           // of kSpm and kUgm; empty otherwise
  std::array<Token, 256> byte_tokens;  // "<0x00>" to "<0xFF>", kNoToken where there is none
  bool has_all_bytes = false;
  size_t longest_text = 0;  // in bytes

  Token bos = kNoToken, eos = kNoToken, eot = kNoToken, eom = kNoToken, unk = kNoToken;
  Token sep = kNoToken, pad = kNoToken, mask = kNoToken;
  Token fim_prefix = kNoToken, fim_suffix = kNoToken, fim_middle = kNoToken;
  Token fim_pad = kNoToken, fim_repo = kNoToken, fim_separator = kNoToken;
  std::vector<Token> eog;    // ascending
  std::vector<bool> is_eog;  // by token
  bool add_bos = false, add_eos = false;

  bool add_space_prefix = false;
  bool remove_extra_whitespaces = false;
  bool treat_whitespace_as_suffix = false;
  bool lowercase = true, strip_accents = true;  // of kWpm

  std::vector<std::string> warnings;  // a sentence for each harmless flaw of the file

 private:
  Vocabulary() { byte_tokens.fill(kNoToken); }
  Status read_kind(const Metadata& metadata);
  Status read_tokens(const Metadata& metadata);
  Status index_tokens();
  Status read_flags(const Metadata& metadata);

  // Open addressing over token ids; 0 is a free slot, id + 1 a taken one.
  std::vector<uint32_t> index_;
};

// The byte that "<0x0A>" names, or -1.
int parse_byte_token(std::string_view text);

// Ids of special tokens: from the metadata, from the defaults of the kind, and from well-known
// names; the set of tokens that end generation. special_ids.cpp.
Status assign_special_ids(const Metadata& metadata, Vocabulary& vocabulary);

}  // namespace realm
