// Text to token ids and back, as the model file's metadata (tokenizer.ggml.*) says. One
// implementation per kind of vocabulary (spm.h, bpe.h, wpm.h, ugm.h) stands behind this interface;
// a tokenizer is immutable after create() and safe to use from any number of threads at once.
// Callers: server I/O threads, the command line, and StreamingDetokenizer (detokenizer.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/metadata.h"

namespace realm {

using Token = int32_t;
inline constexpr Token kNoToken = -1;

// tokenizer.ggml.token_type, with the file's numbers.
enum class TokenAttribute : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// Bytes [begin, end) of a text.
struct TextSpan {
  size_t begin, end;
  bool operator==(const TextSpan&) const = default;
};

struct EncodeOptions {
  // Adds BOS, EOS or SEP where the model's metadata asks for them (add_bos_token and friends).
  bool add_bos_eos = true;
  // Recognizes control tokens written out in the text. User-defined tokens always are. Leave it off
  // for text that comes from a user: it would let the user forge turns.
  bool parse_special = false;
  // Ascending, apart: no control token begins, ends or lies in these all the same.
  std::span<const TextSpan> plain = {};
};

class SpecialTokens;
class Vocabulary;
enum class NormalForm;

class Tokenizer {
 public:
  // Errors: kBadModel for metadata that contradicts itself, kUnsupported for a tokenizer model or
  // pre-tokenizer that this build does not know; both name the key.
  static Result<std::unique_ptr<Tokenizer>> create(const Metadata& metadata);

  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  virtual ~Tokenizer();

  // Error kInvalidArgument, naming the byte offset, where `text` is not valid UTF-8.
  Result<std::vector<Token>> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // Where control tokens are written out in the text, overlapping ones as one span.
  std::vector<TextSpan> find_control_tokens(std::string_view text) const;

  // The text of the tokens. Ids outside the vocabulary add nothing. The result may be invalid UTF-8
  // where the tokens are; StreamingDetokenizer repairs that. `special`: control tokens appear as
  // they are written in the vocabulary, otherwise they add nothing.
  std::string decode(std::span<const Token> tokens, bool special = true) const;

  // The bytes one token adds in the middle of a text; a view into this tokenizer.
  std::string_view piece(Token token, bool special = true) const;
  // Whether decode() drops one leading space of the whole text (SentencePiece's dummy prefix).
  bool strips_leading_space() const { return strips_leading_space_; }

  int32_t vocab_size() const;
  bool contains(Token token) const { return token >= 0 && token < vocab_size(); }
  // The raw vocabulary entry ("Ġthe", "▁the", "<0x0A>"); empty for an id outside the vocabulary.
  const std::string& token_text(Token token) const;
  TokenAttribute attribute(Token token) const;
  std::optional<Token> find(std::string_view token_text) const;

  // kNoToken where the model has none.
  Token bos() const;
  Token eos() const;
  Token eot() const;
  Token unk() const;
  Token sep() const;
  Token pad() const;
  Token mask() const;
  Token fim_prefix() const;
  Token fim_suffix() const;
  Token fim_middle() const;
  bool adds_bos() const;
  bool adds_eos() const;
  // Any token that ends a turn or the text: EOS, EOT, EOM and well-known names of such.
  bool is_eog(Token token) const;
  std::span<const Token> eog_tokens() const;
  bool is_control(Token token) const;
  // "gpt2", "llama", "bert", "t5".
  const std::string& model() const;
  // A sentence for each harmless flaw of the metadata, for whoever opens the model to log.
  std::span<const std::string> warnings() const;

 protected:
  explicit Tokenizer(std::unique_ptr<Vocabulary> vocabulary);
  const Vocabulary& vocabulary() const { return *vocabulary_; }

  // Appends the ids of a stretch of valid UTF-8 that holds no special token. `after_special`: the
  // stretch starts the text or stands right behind a special token.
  virtual Status encode_stretch(std::string_view text, bool after_special,
                                std::vector<Token>& out) const = 0;

 private:
  Status finish_create(const Metadata& metadata);
  std::string piece_of(Token token) const;

  std::unique_ptr<Vocabulary> vocabulary_;
  std::unique_ptr<SpecialTokens> special_tokens_;
  NormalForm normal_form_;
  bool strips_leading_space_ = false;
  // Pieces of all tokens in one string, and where each starts: one cache line per look-up.
  std::string piece_bytes_;
  std::vector<size_t> piece_offsets_;
};

}  // namespace realm
