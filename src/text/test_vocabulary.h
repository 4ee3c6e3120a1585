// Small vocabularies made up in code, for tests and fuzz targets.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "formats/metadata.h"
#include "text/byte_level.h"

namespace realm::test {

enum : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Entry {
  std::string text;
  int64_t type = kNormal;
  double score = 0;
};

inline Metadata make_metadata(const std::string& model, const std::vector<Entry>& entries) {
  std::vector<std::string> texts;
  std::vector<int64_t> types;
  std::vector<double> scores;
  for (const Entry& entry : entries) {
    texts.push_back(entry.text);
    types.push_back(entry.type);
    scores.push_back(entry.score);
  }
  Metadata metadata;
  metadata.set_string("tokenizer.ggml.model", model);
  metadata.set_strings("tokenizer.ggml.tokens", texts);
  metadata.set_int32s("tokenizer.ggml.token_type", types);
  metadata.set_floats("tokenizer.ggml.scores", scores);
  return metadata;
}

// <unk> <s> </s>, byte tokens 3..258, then `more`.
inline std::vector<Entry> spm_entries(const std::vector<Entry>& more) {
  std::vector<Entry> entries = {{"<unk>", kUnknown}, {"<s>", kControl}, {"</s>", kControl}};
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte);
    entries.push_back({text, kByte});
  }
  entries.insert(entries.end(), more.begin(), more.end());
  return entries;
}

// Byte-level BPE: the 256 characters of the byte alphabet as tokens 0..255, then the results of
// `merges` ("h e"), then `more`.
inline Metadata bpe_metadata(const std::string& pre, const std::vector<std::string>& merges,
                             const std::vector<Entry>& more = {}) {
  std::vector<Entry> entries;
  for (const std::string& character : byte_alphabet()) entries.push_back({character});
  for (const std::string& merge : merges) {
    const size_t space = merge.find(' ');
    entries.push_back({merge.substr(0, space) + merge.substr(space + 1)});
  }
  entries.insert(entries.end(), more.begin(), more.end());
  Metadata metadata = make_metadata("gpt2", entries);
  metadata.set_string("tokenizer.ggml.pre", pre);
  metadata.set_strings("tokenizer.ggml.merges", merges);
  return metadata;
}

}  // namespace realm::test
