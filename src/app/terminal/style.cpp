#include "app/terminal/style.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

namespace realm {

bool is_terminal(std::FILE* file) {
  return isatty(fileno(file)) == 1;
}

bool wants_color(std::FILE* file) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return is_terminal(file) && (no_color == nullptr || no_color[0] == '\0') && term != nullptr &&
         std::string_view(term) != "dumb";
}

int terminal_columns(std::FILE* file) {
  winsize size = {};
  return ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string styled(std::string_view text, Style style, bool color) {
  if (!color) return std::string(text);
  const char* code = "";
  switch (style) {
    case Style::kDim:
      code = "\x1b[2m";
      break;
    case Style::kBold:
      code = "\x1b[1m";
      break;
    case Style::kGreen:
      code = "\x1b[32m";
      break;
    case Style::kRed:
      code = "\x1b[31m";
      break;
  }
  return code + std::string(text) + "\x1b[0m";
}

std::string without_controls(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) continue;
    // U+0080 to U+009F.
    if (byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      ++i;
      continue;
    }
    out += text[i];
  }
  return out;
}

}  // namespace realm
