// Any bytes are a tokenizer.json or an error; an accepted one is consistent in itself.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "formats/hf/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto vocabulary =
      realm::hf::parse_tokenizer_json({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!vocabulary.ok()) return 0;
  const realm::hf::Vocabulary& v = *vocabulary;
  if (v.types.size() != v.tokens.size()) std::abort();
  if (!v.scores.empty() && v.scores.size() != v.tokens.size()) std::abort();
  return 0;
}
