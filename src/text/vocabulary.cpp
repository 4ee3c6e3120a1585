#include "text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace realm {
namespace {

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kScores = "tokenizer.ggml.scores";

Error bad(std::string message) {
  return Error{ErrorCode::kBadModel, std::move(message)};
}

// A token's text in a message: short, and without bytes that could harm a terminal.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text.substr(0, 40)) out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return out + (text.size() > 40 ? "...'" : "'");
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

int parse_byte_token(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  const int high = hex_digit(text[3]), low = hex_digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

Result<std::unique_ptr<Vocabulary>> Vocabulary::create(const Metadata& metadata) {
  std::unique_ptr<Vocabulary> vocabulary(new Vocabulary());
  TRY(vocabulary->read_kind(metadata));
  TRY(vocabulary->read_tokens(metadata));
  TRY(vocabulary->index_tokens());
  TRY(vocabulary->read_flags(metadata));
  TRY(assign_special_ids(metadata, *vocabulary));
  return vocabulary;
}

Status Vocabulary::read_kind(const Metadata& metadata) {
  model = TRY(metadata.get_string("tokenizer.ggml.model"));
  std::string pre_name;
  if (model == "llama") {
    kind = VocabularyKind::kSpm;
  } else if (model == "bert") {
    kind = VocabularyKind::kWpm;
  } else if (model == "t5") {
    kind = VocabularyKind::kUgm;
  } else if (model == "gpt2") {
    kind = VocabularyKind::kBpe;
    if (!metadata.contains("tokenizer.ggml.pre")) {
      return bad(
          "tokenizer.ggml.pre is missing: the file does not say how its tokenizer splits text into "
          "words, and a guess would give wrong tokens; convert the model again with a current "
          "converter, or set the key to the right name ('default' if the file predates the key)");
    }
    pre_name = TRY(metadata.get_string("tokenizer.ggml.pre"));
  } else if (model == "gemma4") {
    kind = VocabularyKind::kBpe;
    pre_name = "gemma4";
  } else if (model == "none" || model == "no_vocab") {
    return Error{ErrorCode::kUnsupported,
                 "tokenizer.ggml.model is '" + model + "': the file has no vocabulary"};
  } else {
    return Error{ErrorCode::kUnsupported, "unknown tokenizer.ggml.model " + quoted(model) +
                                              "; this build knows gpt2, llama, bert, t5, gemma4"};
  }
  if (kind == VocabularyKind::kBpe) pre = TRY(find_pre_tokenizer(pre_name));
  return {};
}

Status Vocabulary::read_tokens(const Metadata& metadata) {
  texts = *TRY(metadata.get_strings(kTokens));
  if (texts.empty()) return bad(std::string(kTokens) + " is empty");
  if (texts.size() > static_cast<size_t>(INT32_MAX) / 2) {
    return bad(std::string(kTokens) + " has " + std::to_string(texts.size()) +
               " entries, more than token ids can number");
  }
  for (const std::string& text : texts) longest_text = std::max(longest_text, text.size());

  attributes.assign(texts.size(), TokenAttribute::kNormal);
  if (metadata.contains(kTypes)) {
    const std::vector<int64_t> types = TRY(metadata.get_ints(kTypes, 0, 6));
    if (types.size() != texts.size()) {
      return bad(std::string(kTypes) + " has " + std::to_string(types.size()) + " entries, but " +
                 kTokens + " has " + std::to_string(texts.size()));
    }
    for (size_t i = 0; i < types.size(); ++i) {
      // 0, "undefined", marks padding entries of old converters.
      attributes[i] =
          types[i] == 0 ? TokenAttribute::kUnused : static_cast<TokenAttribute>(types[i]);
    }
  }
  if (kind == VocabularyKind::kSpm || kind == VocabularyKind::kUgm) {
    scores = TRY(metadata.get_floats(kScores));
    if (scores.size() != texts.size()) {
      return bad(std::string(kScores) + " has " + std::to_string(scores.size()) + " entries, but " +
                 kTokens + " has " + std::to_string(texts.size()));
    }
  }
  return {};
}

Status Vocabulary::index_tokens() {
  index_.assign(std::bit_ceil(texts.size() * 2), 0);
  const size_t slots_mask = index_.size() - 1;
  for (size_t id = 0; id < texts.size(); ++id) {
    const std::string& text = texts[id];
    // Some converters fill gaps with empty texts; such a token never matches anything.
    if (text.empty()) continue;
    size_t slot = std::hash<std::string_view>()(text) & slots_mask;
    while (index_[slot] != 0) {
      const uint32_t other = index_[slot] - 1;
      if (texts[other] == text) {
        return bad(std::string(kTokens) + " has " + quoted(text) + " twice, as " +
                   std::to_string(other) + " and " + std::to_string(id));
      }
      slot = (slot + 1) & slots_mask;
    }
    index_[slot] = static_cast<uint32_t>(id) + 1;
  }
  for (size_t id = 0; id < texts.size(); ++id) {
    if (attributes[id] != TokenAttribute::kByte) continue;
    const int byte = parse_byte_token(texts[id]);
    if (byte < 0) {
      return bad("token " + std::to_string(id) + ' ' + quoted(texts[id]) + " of " + kTokens +
                 " is marked as a byte, but is not one of <0x00> to <0xFF>");
    }
    Token& slot = byte_tokens[static_cast<size_t>(byte)];
    if (slot == kNoToken) slot = static_cast<Token>(id);
  }
  has_all_bytes =
      std::none_of(byte_tokens.begin(), byte_tokens.end(), [](Token t) { return t == kNoToken; });
  return {};
}

Status Vocabulary::read_flags(const Metadata& metadata) {
  const bool sentence_piece = kind == VocabularyKind::kSpm || kind == VocabularyKind::kUgm;
  // Byte-level files carry the flag by accident of conversion; their words already hold their
  // space.
  add_space_prefix = TRY(metadata.get_bool_or("tokenizer.ggml.add_space_prefix", sentence_piece)) &&
                     sentence_piece;
  remove_extra_whitespaces =
      TRY(metadata.get_bool_or("tokenizer.ggml.remove_extra_whitespaces", false));
  treat_whitespace_as_suffix =
      TRY(metadata.get_bool_or("tokenizer.ggml.treat_whitespace_as_suffix", false));
  lowercase = TRY(metadata.get_bool_or("tokenizer.ggml.normalizer.lowercase", true));
  strip_accents = TRY(metadata.get_bool_or("tokenizer.ggml.normalizer.strip_accents", lowercase));
  return {};
}

std::optional<Token> Vocabulary::find(std::string_view text) const {
  if (text.empty() || text.size() > longest_text) return std::nullopt;
  const size_t slots_mask = index_.size() - 1;
  size_t slot = std::hash<std::string_view>()(text) & slots_mask;
  for (; index_[slot] != 0; slot = (slot + 1) & slots_mask) {
    if (texts[index_[slot] - 1] == text) return static_cast<Token>(index_[slot] - 1);
  }
  return std::nullopt;
}

std::optional<Token> Vocabulary::find_spellable(std::string_view text) const {
  const std::optional<Token> token = find(text);
  if (!token || has(*token, TokenAttribute::kControl) || has(*token, TokenAttribute::kUnknown) ||
      has(*token, TokenAttribute::kByte)) {
    return std::nullopt;
  }
  return token;
}

}  // namespace realm
