#include "app/tokenize.h"

#include <unistd.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstring>

#include "base/file.h"
#include "text/detokenizer.h"

namespace realm {
namespace {

// What one prompt may have at most (Tokenizer::encode says so too).
constexpr size_t kMaxTextBytes = size_t{1} << 30;

Result<std::string> read_stream(std::FILE* input) {
  std::string text;
  char buffer[1 << 16];
  size_t count;
  while ((count = std::fread(buffer, 1, sizeof buffer, input)) > 0) {
    text.append(buffer, count);
    if (text.size() > kMaxTextBytes) {
      return Error{ErrorCode::kInvalidArgument, "standard input has more than 1 GiB of text"};
    }
  }
  if (std::ferror(input) != 0) {
    return Error{ErrorCode::kIo,
                 std::string("cannot read standard input: ") + std::strerror(errno)};
  }
  return text;
}

Result<std::string> read_text(const TokenizeOptions& options, std::FILE* input) {
  if (options.text && options.file) {
    return Error{ErrorCode::kInvalidArgument, "give either TEXT or -f FILE, not both"};
  }
  if (options.text) return *options.text;
  if (options.file && *options.file != "-") return read_text_file(*options.file, kMaxTextBytes);
  return read_stream(input);
}

Status write_all(std::string_view text, std::FILE* output) {
  const bool written = std::fwrite(text.data(), 1, text.size(), output) == text.size();
  if (!written || std::fflush(output) != 0) {
    return Error{ErrorCode::kIo, std::string("cannot write the result: ") + std::strerror(errno)};
  }
  return {};
}

// The text of tokens as valid UTF-8.
std::string readable(const Tokenizer& tokenizer, std::span<const Token> tokens, bool strip) {
  StreamingDetokenizer detokenizer(tokenizer, true, strip);
  std::string out;
  for (const Token token : tokens) out += detokenizer.push(token);
  return out + detokenizer.finish();
}

}  // namespace

Status tokenize_command(const Tokenizer& tokenizer, const TokenizeOptions& options,
                        std::FILE* input, std::FILE* output) {
  const std::string text = TRY(read_text(options, input));
  const std::vector<Token> tokens =
      TRY(tokenizer.encode(text, {options.add_bos_eos, options.parse_special}));
  std::string line;
  if (options.json) {
    boost::json::array ids, pieces;
    for (const Token token : tokens) {
      ids.emplace_back(token);
      pieces.emplace_back(readable(tokenizer, {&token, 1}, false));
    }
    boost::json::object result;
    result["tokens"] = std::move(ids);
    result["pieces"] = std::move(pieces);
    line = boost::json::serialize(result);
  } else {
    for (const Token token : tokens) {
      if (!line.empty()) line += ' ';
      line += std::to_string(token);
    }
  }
  return write_all(line + '\n', output);
}

Status detokenize_command(const Tokenizer& tokenizer, const DetokenizeOptions& options,
                          std::FILE* output) {
  std::vector<Token> tokens;
  for (const int64_t id : options.tokens) {
    if (id < 0 || id >= tokenizer.vocab_size()) {
      return Error{ErrorCode::kInvalidArgument,
                   "token id " + std::to_string(id) +
                       " is outside the vocabulary, which has ids 0 to " +
                       std::to_string(tokenizer.vocab_size() - 1)};
    }
    tokens.push_back(static_cast<Token>(id));
  }
  if (options.json) {
    boost::json::object result;
    result["text"] = readable(tokenizer, tokens, true);
    return write_all(boost::json::serialize(result) + '\n', output);
  }
  std::string text = tokenizer.decode(tokens);
  if (::isatty(::fileno(output)) != 0 && !text.ends_with('\n')) text += '\n';
  return write_all(text, output);
}

}  // namespace realm
