// Reads a tokenizer.json of the `tokenizers` library: byte-level BPE (GPT-2, Llama 3, Qwen, ...)
// and the BPE with byte fallback that stands for a sentencepiece model (Llama 2, Mistral, ...).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "formats/hf/vocabulary.h"

namespace realm::hf {

// Errors: kBadModel for what is malformed; kUnsupported, with the definition shown, for models,
// normalizers and pre-tokenizers that have no GGUF name.
Result<Vocabulary> parse_tokenizer_json(std::string_view text, const std::string& label);

// "<|...|>" and alike: control tokens by their looks, whatever a file's flags say. They are then
// never matched in a user's text.
bool looks_like_control_token(std::string_view text);

}  // namespace realm::hf
