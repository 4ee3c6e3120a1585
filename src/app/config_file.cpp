#include "app/config_file.h"

#include <algorithm>

namespace realm {
namespace {

std::string_view trim(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// `text` begins behind the opening quote; what follows the closing one may only be a comment.
Result<std::string> quoted(std::string_view text) {
  std::string value;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') {
      const std::string_view rest = trim(text.substr(i + 1));
      if (rest.empty() || rest.front() == '#') return value;
      return Error{ErrorCode::kInvalidArgument, "text behind the closing quote"};
    }
    if (text[i] != '\\') {
      value += text[i];
      continue;
    }
    const char escape = ++i < text.size() ? text[i] : '\0';
    switch (escape) {
      case 'n':
        value += '\n';
        break;
      case 't':
        value += '\t';
        break;
      case '"':
      case '\\':
        value += escape;
        break;
      default:
        return Error{ErrorCode::kInvalidArgument,
                     "an escape other than \\n, \\t, \\\" and \\\\ in a quoted value"};
    }
  }
  return Error{ErrorCode::kInvalidArgument, "a quoted value that does not end on its line"};
}

Result<ConfigLine> parse_line(std::string_view text, int line) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return Error{ErrorCode::kInvalidArgument, "a line that is not 'name = value'"};
  }
  ConfigLine result{std::string(trim(text.substr(0, equals))), {}, line};
  std::replace(result.name.begin(), result.name.end(), '_', '-');
  std::string_view value = trim(text.substr(equals + 1));
  if (!value.empty() && value.front() == '"') {
    result.value = TRY(quoted(value.substr(1)));
  } else {
    // A comment behind an unquoted value needs a blank before it, so that "#" may be part of one.
    for (size_t i = 0; i < value.size(); ++i) {
      if (value[i] == '#' && (i == 0 || value[i - 1] == ' ' || value[i - 1] == '\t')) {
        value = trim(value.substr(0, i));
      }
    }
    result.value = value;
  }
  return result;
}

}  // namespace

Result<std::vector<ConfigLine>> parse_config(std::string_view text, const std::string& label) {
  std::vector<ConfigLine> lines;
  int number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    auto parsed = parse_line(line, number);
    if (!parsed.ok()) return parsed.error().at(label + ":" + std::to_string(number));
    lines.push_back(std::move(parsed).value());
  }
  return lines;
}

std::string default_config_path(const char* xdg_config_home, const char* home) {
  if (xdg_config_home != nullptr && xdg_config_home[0] != '\0') {
    return std::string(xdg_config_home) + "/realm/realm.conf";
  }
  if (home != nullptr && home[0] != '\0') return std::string(home) + "/.config/realm/realm.conf";
  return {};
}

}  // namespace realm
