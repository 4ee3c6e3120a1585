#include "text/content_mask.h"

#include <algorithm>

namespace realm {
namespace {

// The private-use planes 15 and 16, as numbers from 0 on. In UTF-8 they are the characters of four
// bytes that begin with F3 B0 or later.
constexpr uint32_t kFirst = 0xF0000, kCount = 0x20000;

std::string utf8_of(uint32_t c) {
  return {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
          static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
}

void note_used(std::string_view text, std::vector<bool>& used) {
  for (size_t i = 0; i + 4 <= text.size(); ++i) {
    const auto byte = [&](size_t k) {
      return static_cast<uint32_t>(static_cast<uint8_t>(text[i + k]));
    };
    if (byte(0) != 0xF3 && byte(0) != 0xF4) continue;
    const uint32_t c =
        (byte(0) & 7) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    if (c >= kFirst && c - kFirst < kCount) used[c - kFirst] = true;
  }
}

}  // namespace

Result<ContentMask> ContentMask::create(const Tokenizer& tokenizer,
                                        std::span<const std::string_view> texts) {
  ContentMask mask(tokenizer);
  const bool needed = std::any_of(texts.begin(), texts.end(), [&](std::string_view text) {
    return !tokenizer.find_control_tokens(text).empty();
  });
  if (!needed) return mask;
  std::vector<bool> used(kCount, false);
  for (const std::string_view text : texts) note_used(text, used);
  std::vector<uint32_t> free;
  for (uint32_t i = 0; i < kCount && free.size() < 2; ++i) {
    if (!used[i]) free.push_back(kFirst + i);
  }
  if (free.size() < 2) {
    return Error{ErrorCode::kInvalidArgument,
                 "the messages hold special tokens and every private-use character"};
  }
  mask.begin_ = utf8_of(free[0]);
  mask.end_ = utf8_of(free[1]);
  return mask;
}

std::string ContentMask::mask(std::string_view text) const {
  if (begin_.empty()) return std::string(text);
  std::string out;
  size_t from = 0;
  for (const TextSpan& span : tokenizer_->find_control_tokens(text)) {
    out.append(text.substr(from, span.begin - from)).append(begin_);
    out.append(text.substr(span.begin, span.end - span.begin)).append(end_);
    from = span.end;
  }
  return out.append(text.substr(from));
}

MarkedPrompt ContentMask::unmask(std::string rendered) const {
  if (begin_.empty()) return {.text = std::move(rendered), .plain = {}};
  MarkedPrompt prompt;
  // A template may cut a message between its marks: what follows one that is never closed is plain
  // up to the next.
  bool open = false;
  const auto close = [&] {
    if (open && prompt.plain.back().begin < prompt.text.size()) {
      prompt.plain.back().end = prompt.text.size();
    } else if (open) {
      prompt.plain.pop_back();
    }
    open = false;
  };
  for (size_t at = 0; at < rendered.size();) {
    const std::string_view rest = std::string_view(rendered).substr(at);
    const bool begins = rest.starts_with(begin_), ends = rest.starts_with(end_);
    if (begins || ends) {
      close();
      if (begins) prompt.plain.push_back({prompt.text.size(), prompt.text.size()});
      open = begins;
      at += begin_.size();
      continue;
    }
    prompt.text += rendered[at++];
  }
  close();
  return prompt;
}

}  // namespace realm
