// SentencePiece's precompiled character map (tokenizer.ggml.precompiled_charsmap): a double-array
// trie of byte strings and what each is rewritten to, NFKC and the like compiled down. The blob is
// little-endian: the trie's size in bytes, its 32-bit units, then zero-terminated replacements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/metadata.h"

namespace realm {

class Charsmap {
 public:
  // An empty map, which rewrites nothing, where the metadata has none.
  static Result<Charsmap> create(const Metadata& metadata);

  struct Match {
    size_t length;  // bytes of the text
    std::string_view replacement;
  };
  // The longest entry that `text` starts with.
  std::optional<Match> match(std::string_view text) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;  // ends in a zero byte, unless empty
};

}  // namespace realm
