// The bodies of `realm tokenize` and `realm detokenize`: text to ids and back by a model's own
// tokenizer. The command line (main) parses options, opens the model and maps errors to exit codes.
#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace realm {

struct TokenizeOptions {
  // One of both, or neither: then all of `input` is the text.
  std::optional<std::string> text = std::nullopt;
  std::optional<std::string> file = std::nullopt;  // "-" is `input` too
  bool parse_special = false;                      // --special
  bool add_bos_eos = true;                         // off with --no-bos
  bool json = false;
};

// Writes the ids separated by spaces, on one line; with `json` an object with "tokens", the ids,
// and "pieces", the text of each.
Status tokenize_command(const Tokenizer& tokenizer, const TokenizeOptions& options,
                        std::FILE* input, std::FILE* output);

struct DetokenizeOptions {
  std::vector<int64_t> tokens = {};
  bool json = false;
};

// Writes the text, byte for byte; a line end follows only on a terminal. With `json` an object with
// "text", in which bytes that are not UTF-8 are U+FFFD.
// Error kInvalidArgument for an id outside the vocabulary.
Status detokenize_command(const Tokenizer& tokenizer, const DetokenizeOptions& options,
                          std::FILE* output);

}  // namespace realm
