#include "engine/stop_strings.h"

#include <algorithm>
#include <utility>

namespace realm {
namespace {

// Bytes at the end of `text` that begin a UTF-8 character and do not complete it.
size_t unfinished_character_bytes(std::string_view text) {
  const size_t longest = std::min<size_t>(text.size(), 3);
  for (size_t n = 1; n <= longest; ++n) {
    const auto byte = static_cast<unsigned char>(text[text.size() - n]);
    if (byte < 0x80) return 0;
    if (byte < 0xC0) continue;
    const size_t wanted = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    return n < wanted ? n : 0;
  }
  return 0;
}

}  // namespace

Result<StopStrings> StopStrings::create(std::vector<std::string> strings, bool include_stop) {
  if (strings.size() > kMaxStrings) {
    return Error{ErrorCode::kInvalidArgument, "stop must have at most " +
                                                  std::to_string(kMaxStrings) + " strings, not " +
                                                  std::to_string(strings.size())};
  }
  StopStrings result;
  result.include_stop_ = include_stop;
  for (std::string& text : strings) {
    if (text.empty() || text.size() > kMaxStringBytes) {
      return Error{ErrorCode::kInvalidArgument, "a stop string must be of 1 to " +
                                                    std::to_string(kMaxStringBytes) +
                                                    " bytes, not " + std::to_string(text.size())};
    }
    std::vector<size_t> fallback(text.size(), 0);
    for (size_t i = 1, border = 0; i < text.size(); ++i) {
      while (border > 0 && text[i] != text[border]) border = fallback[border - 1];
      if (text[i] == text[border]) ++border;
      fallback[i] = border;
    }
    result.matchers_.push_back({std::move(text), std::move(fallback)});
  }
  return result;
}

void StopStrings::advance(Matcher& matcher, char byte) {
  size_t& length = matcher.length;
  while (length > 0 && matcher.text[length] != byte) length = matcher.fallback[length - 1];
  if (matcher.text[length] == byte) ++length;
}

std::string StopStrings::push(std::string_view piece) {
  if (stopped()) return {};
  std::string out = std::exchange(withheld_, {});
  for (const char byte : piece) {
    out += byte;
    const Matcher* longest = nullptr;
    for (Matcher& matcher : matchers_) {
      advance(matcher, byte);
      const bool complete = matcher.length == matcher.text.size();
      if (complete && (longest == nullptr || matcher.text.size() > longest->text.size())) {
        longest = &matcher;
      }
    }
    if (longest != nullptr) {
      matched_ = longest->text;
      if (!include_stop_) out.resize(out.size() - longest->text.size());
      return out;
    }
  }
  size_t keep = 0;
  for (const Matcher& matcher : matchers_) keep = std::max(keep, matcher.length);
  const size_t certain = out.size() - keep;
  const size_t whole =
      certain - unfinished_character_bytes(std::string_view(out).substr(0, certain));
  withheld_ = out.substr(whole);
  out.resize(whole);
  return out;
}

std::string StopStrings::finish() {
  for (Matcher& matcher : matchers_) matcher.length = 0;
  return std::exchange(withheld_, {});
}

const std::string& StopStrings::matched() const {
  CHECK(stopped());
  return *matched_;
}

}  // namespace realm
