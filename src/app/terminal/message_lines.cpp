#include "app/terminal/message_lines.h"

#include <utility>

namespace realm {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";

}  // namespace

std::optional<std::string> MessageLines::push(std::string_view line) {
  if (!unfinished() && line.starts_with(kQuotes)) {
    quoted_ = true;
    line.remove_prefix(kQuotes.size());
    // The line feed behind the opening quotes is no part of the message.
    if (line.empty()) return std::nullopt;
  }
  if (quoted_) {
    if (!line.ends_with(kQuotes)) {
      text_.append(line).append("\n");
      return std::nullopt;
    }
    line.remove_suffix(kQuotes.size());
    text_ += line;
    if (line.empty() && text_.ends_with('\n')) text_.pop_back();
    quoted_ = false;
    return std::exchange(text_, {});
  }
  if (line.ends_with('\\')) {
    line.remove_suffix(1);
    text_.append(line).append("\n");
    return std::nullopt;
  }
  text_ += line;
  return std::exchange(text_, {});
}

void MessageLines::reset() {
  text_.clear();
  quoted_ = false;
}

}  // namespace realm
