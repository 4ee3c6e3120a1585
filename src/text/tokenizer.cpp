#include "text/tokenizer.h"

#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/special_tokens.h"
#include "text/spm.h"
#include "text/ugm.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "text/vocabulary.h"
#include "text/wpm.h"

namespace realm {
namespace {

constexpr std::string_view kEscapedSpace = "\xe2\x96\x81";  // U+2581
// Our own key: the Unicode normal form that the checkpoint's tokenizer applies before anything
// else. GGUF has no key for it, and other programs ignore it, so that a file without it is not
// normalized.
constexpr const char* kNormalForm = "realm.tokenizer.normal_form";
// Beyond this, offsets of words no longer fit 32 bits; no prompt comes near.
constexpr size_t kLongestText = size_t{1} << 30;

std::string with_spaces(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i, kEscapedSpace.size()) == kEscapedSpace) {
      out += ' ';
      i += kEscapedSpace.size();
    } else {
      out += text[i++];
    }
  }
  return out;
}

Result<std::unique_ptr<Tokenizer>> create_kind(const Metadata& metadata,
                                               std::unique_ptr<Vocabulary> vocabulary) {
  switch (vocabulary->kind) {
    case VocabularyKind::kSpm:
      return std::unique_ptr<Tokenizer>(new SpmTokenizer(std::move(vocabulary)));
    case VocabularyKind::kBpe:
      return BpeTokenizer::create(metadata, std::move(vocabulary));
    case VocabularyKind::kWpm:
      return std::unique_ptr<Tokenizer>(new WpmTokenizer(std::move(vocabulary)));
    case VocabularyKind::kUgm:
      return UgmTokenizer::create(metadata, std::move(vocabulary));
  }
  CHECK(false);
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Vocabulary> vocabulary)
    : vocabulary_(std::move(vocabulary)), normal_form_(NormalForm::kNone) {}

Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(const Metadata& metadata) {
  std::unique_ptr<Vocabulary> vocabulary = TRY(Vocabulary::create(metadata));
  std::unique_ptr<Tokenizer> tokenizer = TRY(create_kind(metadata, std::move(vocabulary)));
  TRY(tokenizer->finish_create(metadata));
  return tokenizer;
}

Status Tokenizer::finish_create(const Metadata& metadata) {
  special_tokens_ = std::make_unique<SpecialTokens>(metadata, *vocabulary_);
  if (metadata.contains(kNormalForm)) {
    const std::string name = TRY(metadata.get_string(kNormalForm));
    normal_form_ = TRY(parse_normal_form(name));
  }
  strips_leading_space_ =
      vocabulary_->kind == VocabularyKind::kWpm ||
      (vocabulary_->add_space_prefix && !vocabulary_->treat_whitespace_as_suffix);
  piece_offsets_.reserve(vocabulary_->texts.size() + 1);
  piece_offsets_.push_back(0);
  for (Token token = 0; token < vocabulary_->size(); ++token) {
    piece_bytes_ += piece_of(token);
    piece_offsets_.push_back(piece_bytes_.size());
  }
  return {};
}

std::string Tokenizer::piece_of(Token token) const {
  const std::string& text = vocabulary_->texts[static_cast<size_t>(token)];
  switch (vocabulary_->attributes[static_cast<size_t>(token)]) {
    case TokenAttribute::kUnknown:
    case TokenAttribute::kControl:
    case TokenAttribute::kUserDefined:
      return text;
    case TokenAttribute::kUnused:
      return {};
    case TokenAttribute::kByte:
      return std::string(1, static_cast<char>(parse_byte_token(text)));
    case TokenAttribute::kNormal:
      break;
  }
  if (vocabulary_->kind != VocabularyKind::kBpe || vocabulary_->pre->raw_utf8) {
    return with_spaces(text);
  }
  return decode_byte_level(text).value_or(text);
}

Result<std::vector<Token>> Tokenizer::encode(std::string_view text,
                                             const EncodeOptions& options) const {
  if (text.size() > kLongestText) {
    return Error{ErrorCode::kInvalidArgument, "the text has " + std::to_string(text.size()) +
                                                  " bytes, more than the 1 GiB a prompt may have"};
  }
  const size_t invalid = find_invalid_utf8(text);
  if (invalid != std::string_view::npos) {
    return Error{ErrorCode::kInvalidArgument, "the text is not valid UTF-8 at byte offset " +
                                                  std::to_string(invalid) +
                                                  "; convert it to UTF-8"};
  }
  std::string normal;
  std::vector<TextSpan> moved;
  std::span<const TextSpan> plain = options.plain;
  if (normal_form_ != NormalForm::kNone) {
    // Stretch by stretch, so that the spans' borders are still known afterwards.
    size_t from = 0;
    for (const TextSpan& span : plain) {
      normal += TRY(normalize(text.substr(from, span.begin - from), normal_form_));
      const size_t begin = normal.size();
      normal += TRY(normalize(text.substr(span.begin, span.end - span.begin), normal_form_));
      moved.push_back({begin, normal.size()});
      from = span.end;
    }
    normal += TRY(normalize(text.substr(from), normal_form_));
    text = normal;
    plain = moved;
  }

  std::vector<Token> out;
  out.reserve(text.size() / 3 + 8);
  if (options.add_bos_eos && vocabulary_->add_bos) out.push_back(vocabulary_->bos);
  bool after_special = true;
  for (const SpecialTokens::Part& part :
       special_tokens_->split(text, options.parse_special, plain)) {
    if (part.token != kNoToken) {
      out.push_back(part.token);
      after_special = true;
    } else {
      TRY(encode_stretch(part.text, after_special, out));
      after_special = false;
    }
  }
  if (options.add_bos_eos && vocabulary_->add_eos) {
    out.push_back(vocabulary_->kind == VocabularyKind::kWpm ? vocabulary_->sep : vocabulary_->eos);
  }
  return out;
}

std::vector<TextSpan> Tokenizer::find_control_tokens(std::string_view text) const {
  return special_tokens_->find_control(text);
}

std::string Tokenizer::decode(std::span<const Token> tokens, bool special) const {
  std::string out;
  bool at_start = strips_leading_space_;
  for (const Token token : tokens) {
    std::string_view text = piece(token, special);
    if (at_start && !text.empty()) {
      if (text[0] == ' ') text.remove_prefix(1);
      at_start = false;
    }
    out += text;
  }
  return vocabulary_->kind == VocabularyKind::kWpm ? clean_up_spaces(out) : out;
}

std::string_view Tokenizer::piece(Token token, bool special) const {
  if (!contains(token)) return {};
  if (!special && (vocabulary_->has(token, TokenAttribute::kControl) ||
                   vocabulary_->has(token, TokenAttribute::kUnknown))) {
    return {};
  }
  const size_t begin = piece_offsets_[static_cast<size_t>(token)];
  return std::string_view(piece_bytes_)
      .substr(begin, piece_offsets_[static_cast<size_t>(token) + 1] - begin);
}

int32_t Tokenizer::vocab_size() const {
  return vocabulary_->size();
}

const std::string& Tokenizer::token_text(Token token) const {
  static const std::string empty;
  return contains(token) ? vocabulary_->texts[static_cast<size_t>(token)] : empty;
}

TokenAttribute Tokenizer::attribute(Token token) const {
  return contains(token) ? vocabulary_->attributes[static_cast<size_t>(token)]
                         : TokenAttribute::kUnused;
}

std::optional<Token> Tokenizer::find(std::string_view token_text) const {
  return vocabulary_->find(token_text);
}

Token Tokenizer::bos() const {
  return vocabulary_->bos;
}
Token Tokenizer::eos() const {
  return vocabulary_->eos;
}
Token Tokenizer::eot() const {
  return vocabulary_->eot;
}
Token Tokenizer::unk() const {
  return vocabulary_->unk;
}
Token Tokenizer::sep() const {
  return vocabulary_->sep;
}
Token Tokenizer::pad() const {
  return vocabulary_->pad;
}
Token Tokenizer::mask() const {
  return vocabulary_->mask;
}
Token Tokenizer::fim_prefix() const {
  return vocabulary_->fim_prefix;
}
Token Tokenizer::fim_suffix() const {
  return vocabulary_->fim_suffix;
}
Token Tokenizer::fim_middle() const {
  return vocabulary_->fim_middle;
}
bool Tokenizer::adds_bos() const {
  return vocabulary_->add_bos;
}
bool Tokenizer::adds_eos() const {
  return vocabulary_->add_eos;
}
bool Tokenizer::is_eog(Token token) const {
  return contains(token) && vocabulary_->is_eog[static_cast<size_t>(token)];
}
std::span<const Token> Tokenizer::eog_tokens() const {
  return vocabulary_->eog;
}
bool Tokenizer::is_control(Token token) const {
  return contains(token) && vocabulary_->has(token, TokenAttribute::kControl);
}
const std::string& Tokenizer::model() const {
  return vocabulary_->model;
}
std::span<const std::string> Tokenizer::warnings() const {
  return vocabulary_->warnings;
}

}  // namespace realm
