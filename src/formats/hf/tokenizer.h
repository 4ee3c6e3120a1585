// The tokenizer of a Hugging Face folder as GGUF metadata: picks the file that defines the
// vocabulary, then the special tokens' roles and the chat template from the configs around it.
#pragma once

#include <string>

#include "formats/json.h"
#include "formats/metadata.h"

namespace realm::hf {

// Sets the tokenizer.* keys. `config` is the model's config.json. A folder without any tokenizer
// file sets none: such a model takes token ids only (a draft model often comes so).
Status add_tokenizer(const std::string& folder, const JsonObject& config, int64_t vocab_size,
                     Metadata& metadata);

}  // namespace realm::hf
