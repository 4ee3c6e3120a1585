#include "app/token_list.h"

#include <boost/json/array.hpp>
#include <charconv>
#include <limits>

#include "formats/json.h"

namespace realm {
namespace {

constexpr Token kMaxToken = std::numeric_limits<Token>::max();

Error not_an_id(const std::string& label, std::string_view text) {
  const std::string shown(text.substr(0, 40));
  return Error{ErrorCode::kInvalidArgument, label + ": '" + shown + "' is not a token id"};
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

Result<std::vector<Token>> parse_token_list(std::string_view text, const std::string& label) {
  std::vector<Token> tokens;
  for (bool more = true; more;) {
    const size_t comma = text.find(',');
    const std::string_view word = trimmed(text.substr(0, comma));
    Token token = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), token);
    if (error != std::errc() || end != word.data() + word.size() || token < 0) {
      return not_an_id(label, word);
    }
    tokens.push_back(token);
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);
  }
  return tokens;
}

Result<std::vector<Token>> read_token_file(const std::string& path) {
  const auto parsed = read_json_file(path);
  if (!parsed.ok()) {
    const ErrorCode code = parsed.error().code;
    return Error{code == ErrorCode::kBadModel ? ErrorCode::kInvalidArgument : code,
                 parsed.error().message};
  }
  if (!parsed->is_array() || parsed->get_array().empty()) {
    return Error{ErrorCode::kInvalidArgument, path + ": not a JSON list of token ids"};
  }
  std::vector<Token> tokens;
  for (const auto& entry : parsed->get_array()) {
    const bool fits = entry.is_int64() && entry.get_int64() >= 0 && entry.get_int64() <= kMaxToken;
    if (!fits) {
      return Error{ErrorCode::kInvalidArgument,
                   path + ": entry " + std::to_string(tokens.size()) + " is not a token id"};
    }
    tokens.push_back(static_cast<Token>(entry.get_int64()));
  }
  return tokens;
}

}  // namespace realm
