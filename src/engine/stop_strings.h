// Ends a stream of text at the first stop string and withholds, until it is known, text that may be
// the beginning of one. Sits behind the streaming detokenizer, one per stream. What comes out, all
// pieces joined, depends on the text alone and not on how it was cut into pieces: the match is the
// stop string that is complete first, and of several complete at the same byte the longest.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace realm {

class StopStrings {
 public:
  static constexpr size_t kMaxStrings = 64;
  static constexpr size_t kMaxStringBytes = 1024;

  // `include_stop`: the match itself is part of the output (vLLM's include_stop_str_in_output).
  // Errors: kInvalidArgument for an empty or overlong string, or too many.
  static Result<StopStrings> create(std::vector<std::string> strings, bool include_stop = false);

  // The text that is now certain to be output. Never ends within a UTF-8 character of the input,
  // whatever the pieces are. Empty once stopped.
  std::string push(std::string_view piece);
  // At the end of the stream: what was withheld and turned out to be no stop string.
  std::string finish();

  bool stopped() const { return matched_.has_value(); }
  // The stop string that was met; requires stopped().
  const std::string& matched() const;

 private:
  struct Matcher {
    std::string text;
    std::vector<size_t> fallback;  // Knuth-Morris-Pratt: longest proper border of each prefix
    size_t length = 0;             // of the prefix that the text so far ends in
  };

  StopStrings() = default;
  static void advance(Matcher& matcher, char byte);

  std::vector<Matcher> matchers_;
  bool include_stop_ = false;
  std::string withheld_;
  std::optional<std::string> matched_;  // a copy: this object moves
};

}  // namespace realm
