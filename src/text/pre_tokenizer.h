// Runs the steps of one row of pre_tokenizer_table.h over a text. Patterns are compiled once, with
// PCRE2's JIT where the machine has it; split() may be called from any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/pre_tokenizer_table.h"

namespace realm {

class PreTokenizer {
 public:
  static Result<PreTokenizer> compile(const PreTokenizerRow& row);
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Appends the length in bytes of each word of `text`, in order; they add up to its size. `text`
  // must be well-formed UTF-8 of less than 4 GiB. Error kExhausted where a pattern needs more steps
  // than any sensible text does.
  Status split(std::string_view text, std::vector<uint32_t>& lengths) const;

 private:
  PreTokenizer();
  struct Step;
  std::vector<Step> steps_;
};

}  // namespace realm
