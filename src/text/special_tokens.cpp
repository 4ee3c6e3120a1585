#include "text/special_tokens.h"

#include <algorithm>
#include <string>

#include "text/utf8.h"

namespace realm {
namespace {

bool is_ascii_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// GGUF does not carry the strip flags of Hugging Face's added tokens; which models have them is
// known by name only.
enum class StripRule { kNone, kMaskLeft, kBertMaskLeft, kPhi3 };

StripRule strip_rule(const Metadata& metadata) {
  const auto text = [&](const char* key) {
    const MetadataValue* value = metadata.find(key);
    const std::string* s = value ? std::get_if<std::string>(&value->value) : nullptr;
    std::string lower = s ? *s : std::string();
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return lower;
  };
  const auto holds = [](const std::string& s, const char* part) {
    return s.find(part) != std::string::npos;
  };
  const std::string pre = text("tokenizer.ggml.pre"), arch = text("general.architecture");
  const std::string name = text("general.name");
  if (holds(pre, "jina-v2-de") || holds(pre, "jina-v2-es") || holds(pre, "jina-v2-code") ||
      holds(arch, "nomic-bert-moe") || holds(arch, "jina-bert-v3")) {
    return StripRule::kMaskLeft;
  }
  if (holds(name, "phi-3") || holds(name, "phi3")) return StripRule::kPhi3;
  if (holds(name, "modern-bert")) return StripRule::kBertMaskLeft;
  return StripRule::kNone;
}

}  // namespace

SpecialTokens::SpecialTokens(const Metadata& metadata, const Vocabulary& vocabulary)
    : vocabulary_(&vocabulary) {
  const StripRule rule = strip_rule(metadata);
  for (Token token = 0; token < vocabulary.size(); ++token) {
    const bool user_defined = vocabulary.has(token, TokenAttribute::kUserDefined);
    if (!user_defined && !vocabulary.has(token, TokenAttribute::kControl) &&
        !vocabulary.has(token, TokenAttribute::kUnknown)) {
      continue;
    }
    const std::string& text = vocabulary.texts[static_cast<size_t>(token)];
    // A text that is not UTF-8 could only match across the middle of a character.
    if (text.empty() || find_invalid_utf8(text) != std::string_view::npos) continue;
    Entry entry{.token = token, .only_when_parsing = !user_defined};
    entry.strips_left = (rule == StripRule::kMaskLeft && text == "<mask>") ||
                        (rule == StripRule::kBertMaskLeft && text == "[MASK]");
    entry.strips_right =
        rule == StripRule::kPhi3 && text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
    entries_.push_back(entry);
    if (user_defined) has_user_defined_[static_cast<unsigned char>(text[0])] = true;
  }
  const auto text_of = [&](const Entry& e) -> const std::string& {
    return vocabulary.texts[static_cast<size_t>(e.token)];
  };
  // Texts of one length in order, so that match_at can look one up in all of that length.
  std::sort(entries_.begin(), entries_.end(), [&](const Entry& a, const Entry& b) {
    const std::string &x = text_of(a), &y = text_of(b);
    if (x[0] != y[0]) return static_cast<unsigned char>(x[0]) < static_cast<unsigned char>(y[0]);
    if (x.size() != y.size()) return x.size() > y.size();
    return x < y;
  });
  for (const Entry& e : entries_) ++first_byte_[static_cast<unsigned char>(text_of(e)[0]) + 1u];
  for (size_t i = 1; i < first_byte_.size(); ++i) first_byte_[i] += first_byte_[i - 1];
}

const SpecialTokens::Entry* SpecialTokens::match_at(std::string_view text,
                                                    bool parse_special) const {
  const auto first = static_cast<unsigned char>(text[0]);
  if (!parse_special && !has_user_defined_[first]) return nullptr;
  const auto text_of = [&](const Entry& e) -> std::string_view {
    return vocabulary_->texts[static_cast<size_t>(e.token)];
  };
  auto it = entries_.begin() + first_byte_[first];
  const auto end = entries_.begin() + first_byte_[first + 1u];
  while (it != end) {
    const size_t length = text_of(*it).size();
    const auto group_end =
        std::partition_point(it, end, [&](const Entry& e) { return text_of(e).size() == length; });
    if (length <= text.size()) {
      const std::string_view start = text.substr(0, length);
      const auto hit = std::lower_bound(
          it, group_end, start, [&](const Entry& e, std::string_view t) { return text_of(e) < t; });
      if (hit != group_end && text_of(*hit) == start &&
          (parse_special || !hit->only_when_parsing)) {
        return &*hit;
      }
    }
    it = group_end;
  }
  return nullptr;
}

std::vector<TextSpan> SpecialTokens::find_control(std::string_view text) const {
  std::vector<TextSpan> spans;
  for (size_t at = 0; at < text.size(); ++at) {
    const Entry* entry = match_at(text.substr(at), true);
    if (entry == nullptr || !entry->only_when_parsing) continue;
    const size_t end = at + length_of(*entry);
    if (!spans.empty() && at < spans.back().end) {
      spans.back().end = std::max(spans.back().end, end);
    } else {
      spans.push_back({at, end});
    }
  }
  return spans;
}

std::vector<SpecialTokens::Part> SpecialTokens::split(std::string_view text, bool parse_special,
                                                      std::span<const TextSpan> plain) const {
  std::vector<Part> parts;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    while (!plain.empty() && plain.front().end <= at) plain = plain.subspan(1);
    const std::string_view rest = text.substr(at);
    // Up to where a control token may reach from here.
    const size_t reach = plain.empty()               ? rest.size()
                         : plain.front().begin <= at ? 0
                                                     : plain.front().begin - at;
    const Entry* entry = match_at(rest, parse_special);
    if (entry != nullptr && entry->only_when_parsing && length_of(*entry) > reach) {
      const Entry* shorter = reach > 0 ? match_at(rest.substr(0, reach), parse_special) : nullptr;
      const Entry* user_defined = match_at(rest, false);
      entry = shorter;
      if (user_defined != nullptr &&
          (shorter == nullptr || length_of(*user_defined) > length_of(*shorter))) {
        entry = user_defined;
      }
    }
    if (entry == nullptr) {
      ++at;
      continue;
    }
    size_t end = at;
    if (entry->strips_left) {
      while (end > begin && is_ascii_space(text[end - 1])) --end;
    }
    if (end > begin) parts.push_back({text.substr(begin, end - begin)});
    parts.push_back({{}, entry->token});
    at += length_of(*entry);
    if (entry->strips_right) {
      while (at < text.size() && is_ascii_space(text[at])) ++at;
    }
    begin = at;
  }
  if (begin < text.size()) parts.push_back({text.substr(begin)});
  return parts;
}

}  // namespace realm
