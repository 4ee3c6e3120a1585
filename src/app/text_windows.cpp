#include "app/text_windows.h"

#include "base/file.h"

namespace realm {

Result<TextWindows> read_text_windows(const std::string& path, const Tokenizer& tokenizer,
                                      int64_t size, bool parse_special, int64_t min_windows) {
  constexpr size_t kMaxTextBytes = size_t{1} << 30;
  const std::string text = TRY(read_text_file(path, kMaxTextBytes));
  auto tokens = tokenizer.encode(text, {.parse_special = parse_special});
  if (!tokens.ok()) return tokens.error().at(path);
  TextWindows windows{.tokens = std::move(tokens).value(), .size = size};
  const auto length = static_cast<int64_t>(windows.tokens.size());
  windows.count = length / size;
  if (windows.count < min_windows) {
    return Error{ErrorCode::kInvalidArgument,
                 path + ": " + std::to_string(length) + " tokens are too few for windows of " +
                     std::to_string(size) + "; give at least " +
                     std::to_string(min_windows * size) + " or a smaller --ctx"};
  }
  if (tokenizer.adds_bos() && tokenizer.bos() != kNoToken) {
    for (int64_t i = 0; i < windows.count; ++i) {
      windows.tokens[static_cast<size_t>(i * size)] = tokenizer.bos();
    }
  }
  return windows;
}

}  // namespace realm
