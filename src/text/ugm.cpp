#include "text/ugm.h"

#include <algorithm>
#include <limits>

#include "text/spm.h"
#include "text/utf8.h"

namespace realm {
namespace {
constexpr std::string_view kEscapedSpace = "\xe2\x96\x81";  // U+2581
constexpr std::string_view kReplacement = "\xef\xbf\xbd";   // U+FFFD
// How much worse an unknown character is than the least likely token.
constexpr float kUnknownPenalty = 10;
}  // namespace

Result<std::unique_ptr<Tokenizer>> UgmTokenizer::create(const Metadata& metadata,
                                                        std::unique_ptr<Vocabulary> vocabulary) {
  Charsmap charsmap = TRY(Charsmap::create(metadata));
  return std::unique_ptr<Tokenizer>(new UgmTokenizer(std::move(vocabulary), std::move(charsmap)));
}

UgmTokenizer::UgmTokenizer(std::unique_ptr<Vocabulary> owned, Charsmap charsmap)
    : Tokenizer(std::move(owned)), charsmap_(std::move(charsmap)) {
  const Vocabulary& v = vocabulary();
  node_tokens_.push_back(kNoToken);
  float lowest = std::numeric_limits<float>::max();
  for (Token token = 0; token < v.size(); ++token) {
    const bool normal = v.has(token, TokenAttribute::kNormal);
    if (normal) lowest = std::min(lowest, v.scores[static_cast<size_t>(token)]);
    if (!normal && !v.has(token, TokenAttribute::kUserDefined)) continue;
    const std::string& text = v.texts[static_cast<size_t>(token)];
    // The lattice below has nodes at whole characters only.
    if (text.empty() || find_invalid_utf8(text) != std::string::npos) continue;
    uint64_t node = 0;
    for (const char c : text) {
      const auto fresh = static_cast<uint32_t>(node_tokens_.size());
      const auto [child, known] = edges_.insert(node << 8 | static_cast<unsigned char>(c), fresh);
      if (!known) node_tokens_.push_back(kNoToken);
      node = *child;
    }
    node_tokens_[node] = token;
  }
  unknown_score_ = (lowest == std::numeric_limits<float>::max() ? 0 : lowest) - kUnknownPenalty;
}

std::string UgmTokenizer::normalize_text(std::string_view text) const {
  const Vocabulary& v = vocabulary();
  const bool trim = v.remove_extra_whitespaces;
  std::string out;
  out.reserve(text.size() * 2);
  if (v.add_space_prefix && !v.treat_whitespace_as_suffix) out += kEscapedSpace;
  // White space at the very start is extra too.
  bool after_space = trim;
  bool only_spaces = true;
  for (size_t offset = 0; offset < text.size();) {
    const std::string_view rest = text.substr(offset);
    const size_t character = utf8_length(static_cast<unsigned char>(rest[0]));
    std::string_view piece = rest.substr(0, character);
    size_t consumed = character;
    if (const std::optional<Charsmap::Match> match = charsmap_.match(rest)) {
      consumed = match->length;
      piece = match->replacement;
      // A map that cuts through a character, or rewrites to broken text, does not come from
      // SentencePiece's compiler.
      const bool whole = consumed == rest.size() || (rest[consumed] & 0xc0) != 0x80;
      if (!whole || find_invalid_utf8(piece) != std::string_view::npos) {
        consumed = character;
        piece = kReplacement;
      }
    }
    offset += consumed;
    only_spaces &= piece == " ";
    while (after_space && !piece.empty() && piece[0] == ' ') piece.remove_prefix(1);
    if (piece.empty()) continue;
    for (const char c : piece) {
      if (c == ' ') {
        out += kEscapedSpace;
      } else {
        out += c;
      }
    }
    after_space = trim && piece.back() == ' ';
  }
  if (only_spaces && trim) return {};
  if (trim) {
    const auto ends_in_space = [&] {
      return out.size() >= kEscapedSpace.size() &&
             out.compare(out.size() - kEscapedSpace.size(), kEscapedSpace.size(), kEscapedSpace) ==
                 0;
    };
    while (ends_in_space()) out.resize(out.size() - kEscapedSpace.size());
  }
  if (v.add_space_prefix && v.treat_whitespace_as_suffix) out += kEscapedSpace;
  return out;
}

Status UgmTokenizer::encode_stretch(std::string_view text, bool /*after_special*/,
                                    std::vector<Token>& out) const {
  const std::string normal = normalize_text(text);
  const size_t size = normal.size();
  if (size == 0) return {};
  const Vocabulary& v = vocabulary();

  // The best way to reach each byte offset. Sums in float, as in SentencePiece: ties fall alike.
  struct Best {
    float score = -std::numeric_limits<float>::infinity();
    size_t from = 0;
    Token token = kNoToken;  // kNoToken: one unknown character
  };
  std::vector<Best> best(size + 1);
  best[0].score = 0;
  for (size_t begin = 0; begin < size;) {
    const size_t character = utf8_length(static_cast<unsigned char>(normal[begin]));
    bool whole_character_known = false;
    uint64_t node = 0;
    for (size_t end = begin; end < size;) {
      const uint32_t* child = edges_.find(node << 8 | static_cast<unsigned char>(normal[end]));
      if (child == nullptr) break;
      node = *child;
      ++end;
      const Token token = node_tokens_[node];
      if (token == kNoToken) continue;
      // A user-defined token's score counts as certain.
      const float score =
          v.has(token, TokenAttribute::kUserDefined) ? 0.0f : v.scores[static_cast<size_t>(token)];
      if (best[begin].score + score > best[end].score) {
        best[end] = {best[begin].score + score, begin, token};
      }
      whole_character_known |= end == begin + character;
    }
    if (!whole_character_known) {
      Best& next = best[begin + character];
      const float score = best[begin].score + unknown_score_;
      if (score > next.score) next = {score, begin, kNoToken};
    }
    begin += character;
  }

  std::vector<size_t> path;  // ends of the tokens, last first
  for (size_t at = size; at > 0; at = best[at].from) path.push_back(at);
  for (auto it = path.rbegin(); it != path.rend(); ++it) {
    const Best& step = best[*it];
    if (step.token != kNoToken) {
      out.push_back(step.token);
    } else {
      TRY(append_fallback(v, std::string_view(normal).substr(step.from, *it - step.from), out));
    }
  }
  return {};
}

}  // namespace realm
