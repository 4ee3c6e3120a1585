// Reads sentencepiece's tokenizer.model: a protobuf message (ModelProto) of which only the pieces,
// a few trainer numbers and the normalizer matter. The wire format is read directly; any input is
// safe.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"
#include "formats/hf/vocabulary.h"

namespace realm::hf {

// Errors: kBadModel with the offset; kUnsupported for word and char models.
Result<Vocabulary> parse_sentencepiece(std::span<const std::byte> bytes, const std::string& label);

}  // namespace realm::hf
