// Names for the pre-tokenizers of tokenizer.json files. GGUF stores only a name
// (`tokenizer.ggml.pre`), so a definition must be recognized among the known ones; one that is not
// is an error, never a guess.
#pragma once

#include <string>

#include "formats/json.h"

namespace realm::hf {

struct PreTokenizer {
  std::string name;  // as text/ knows it
  bool add_prefix_space = false;
};

// `pre_tokenizer` is the definition in tokenizer.json; ignore_merges its model's flag of that name.
// Error kUnsupported showing the definition.
Result<PreTokenizer> recognize_pre_tokenizer(const boost::json::value& pre_tokenizer,
                                             bool ignore_merges, const std::string& label);

}  // namespace realm::hf
