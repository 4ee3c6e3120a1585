// Any bytes are a sentencepiece model or an error; an accepted one is consistent in itself.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "formats/hf/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  const auto vocabulary = realm::hf::parse_sentencepiece(bytes, "fuzz");
  if (!vocabulary.ok()) return 0;
  const realm::hf::Vocabulary& v = *vocabulary;
  if (v.types.size() != v.tokens.size() || v.scores.size() != v.tokens.size()) std::abort();
  for (const int64_t id : {v.unk_id, v.bos_id, v.eos_id, v.pad_id}) {
    if (id < -1 || id >= static_cast<int64_t>(v.tokens.size())) std::abort();
  }
  return 0;
}
