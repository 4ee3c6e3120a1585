// What a terminal is and may be shown: colours only on one and never under NO_COLOR (no-color.org),
// and no control characters out of a model's or file's text.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace realm {

bool is_terminal(std::FILE* file);
// A terminal that is not "dumb", and NO_COLOR not set to anything.
bool wants_color(std::FILE* file);
int terminal_columns(std::FILE* file);  // 80 where it does not say

enum class Style { kDim, kBold, kGreen, kRed };
// `text` in the style, or as it is where `color` is false.
std::string styled(std::string_view text, Style style, bool color);

// Without the C0 and C1 control characters other than tab and line feed: text from a model must not
// move the cursor, set the title or paste into the terminal. `text` is whole UTF-8 characters.
std::string without_controls(std::string_view text);

}  // namespace realm
