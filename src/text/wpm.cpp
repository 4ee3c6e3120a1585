#include "text/wpm.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace realm {
namespace {

constexpr std::string_view kWordStart = "\xe2\x96\x81";  // U+2581
// Longer words are unknown as a whole: the limit every published BERT tokenizer has.
constexpr size_t kLongestWord = 100;  // characters

bool is_cjk_ideograph(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

bool is_sign(char32_t c) {
  if (c < 0x80) {
    return (c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60) ||
           (c >= 0x7b && c <= 0x7e);
  }
  return is_punctuation(c);
}

}  // namespace

WpmTokenizer::WpmTokenizer(std::unique_ptr<Vocabulary> vocabulary)
    : Tokenizer(std::move(vocabulary)) {}

Status WpmTokenizer::encode_stretch(std::string_view text, bool /*after_special*/,
                                    std::vector<Token>& out) const {
  std::string cleaned;
  cleaned.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    const char32_t c = next_code_point(text, offset);
    const bool line_space = c == '\t' || c == '\n' || c == '\r';
    if (c == 0 || c == 0xfffd || (!line_space && is_other(c))) continue;
    if (line_space || is_white_space(c)) {
      cleaned += ' ';
    } else if (is_cjk_ideograph(c)) {
      cleaned += ' ';
      append_utf8(c, cleaned);
      cleaned += ' ';
    } else {
      append_utf8(c, cleaned);
    }
  }
  if (vocabulary().strip_accents) cleaned = TRY(normalize(cleaned, NormalForm::kNfd));

  std::string word;
  const auto flush = [&] {
    if (!word.empty()) encode_word(word, out);
    word.clear();
  };
  for (size_t offset = 0; offset < cleaned.size();) {
    char32_t c = next_code_point(cleaned, offset);
    if (vocabulary().strip_accents && is_nonspacing_mark(c)) continue;
    const bool dotted = c == 0x130 && vocabulary().lowercase;  // lowers to two characters
    if (vocabulary().lowercase) c = dotted ? U'i' : to_lower(c);
    if (is_white_space(c)) {
      flush();
    } else if (is_sign(c)) {
      flush();
      append_utf8(c, word);
      flush();
    } else {
      append_utf8(c, word);
      if (dotted) append_utf8(0x307, word);
    }
  }
  flush();
  return {};
}

void WpmTokenizer::encode_word(std::string_view word, std::vector<Token>& out) const {
  const size_t first = out.size();
  const auto characters = static_cast<size_t>(
      std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xc0) != 0x80; }));
  bool known = characters <= kLongestWord;
  std::string marked(kWordStart);
  marked += word;
  std::string_view rest = marked;
  while (known && !rest.empty()) {
    // A U+2581 of the text itself must not look like the start of a word.
    if (rest.size() < marked.size() && rest.substr(0, kWordStart.size()) == kWordStart) {
      known = false;
      break;
    }
    size_t length = std::min(rest.size(), vocabulary().longest_text);
    std::optional<Token> token;
    for (; length > 0; --length) {
      // Only whole characters; and the mark alone is no start of a word.
      if (length < rest.size() && (rest[length] & 0xc0) == 0x80) continue;
      if (rest.size() == marked.size() && length <= kWordStart.size()) break;
      token = vocabulary().find_spellable(rest.substr(0, length));
      if (token) break;
    }
    known = token.has_value();
    if (!known) break;
    out.push_back(*token);
    rest.remove_prefix(length);
  }
  if (!known) {
    out.resize(first);
    if (vocabulary().unk != kNoToken) out.push_back(vocabulary().unk);
  }
}

std::string clean_up_spaces(std::string_view text) {
  // In this order, each over the whole text.
  constexpr std::pair<std::string_view, std::string_view> kReplacements[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  std::string result(text), next;
  for (const auto& [from, to] : kReplacements) {
    next.clear();
    size_t done = 0;
    for (size_t at; (at = result.find(from, done)) != std::string::npos; done = at + from.size()) {
      next.append(result, done, at - done).append(to);
    }
    next.append(result, done);
    result.swap(next);
  }
  return result;
}

}  // namespace realm
