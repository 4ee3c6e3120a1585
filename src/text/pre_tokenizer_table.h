// How each named pre-tokenizer (tokenizer.ggml.pre) cuts text into the words that BPE merges
// within. One row per name or family of names; a new one is one row more in
// pre_tokenizer_table.cpp.
#pragma once

#include <initializer_list>
#include <span>
#include <string_view>

#include "base/result.h"

namespace realm {

// The kinds other than kPattern are patterns too, but take quadratic time when searched for as
// such. One pass over the pieces that the passes before left; it cuts each into matches and what
// lies between them, and drops nothing.
struct PreTokenizerStep {
  enum Kind {
    kPattern,                  // the matches of a regular expression
    kNumberGroups,             // runs of \p{N}, each cut into groups of three from its right end
    kDecimalGroups,            // as (?=(\d{3})+(?!\d)): a cut before each such group of a run of \d
    kDecimalGroupsAtBoundary,  // as \d{1,3}(?=(\d{3})*\b): the same, whole runs before a \b only
  };
  Kind kind = kPattern;
  // As in PCRE2 with UTF and UCP, except that \s is exactly Unicode's White_Space.
  const char* pattern = nullptr;
};

struct PreTokenizerRow {
  std::span<const std::string_view> names;
  std::span<const PreTokenizerStep> steps;
  // A word that is a token as a whole is not put together from merges.
  bool ignores_merges = false;
  // BOS is added where the file does not say.
  bool adds_bos = false;
  bool forces_bos = false;
  // The vocabulary spells words in UTF-8 with U+2581 for a space, and has byte tokens "<0x0A>", as
  // SentencePiece's; otherwise in GPT-2's byte alphabet (byte_level.h).
  bool raw_utf8 = false;
};

// Error kUnsupported, naming what to do, for an unknown name.
Result<const PreTokenizerRow*> find_pre_tokenizer(std::string_view name);
std::span<const PreTokenizerRow> pre_tokenizers();

}  // namespace realm
