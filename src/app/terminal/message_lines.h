// Lines into messages: a line ending in a backslash goes on in the next, and one that begins with
// three double quotes goes on until a line that ends in them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace realm {

class MessageLines {
 public:
  // The message that this line completes, if it does.
  std::optional<std::string> push(std::string_view line);
  // Whether a message has begun and wants more lines.
  bool unfinished() const { return quoted_ || !text_.empty(); }
  void reset();

 private:
  std::string text_;
  bool quoted_ = false;
};

}  // namespace realm
