// The chat template that belongs to a model file: its own (tokenizer.chat_template), or a built-in
// one chosen by the special tokens in its vocabulary where it has none. Called by app and
// server/api when a model is loaded.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "formats/metadata.h"
#include "text/chat_template.h"

namespace realm {

struct ChatTemplateSource {
  std::string source;
  std::string label;  // what messages call it: the metadata key, "built-in chatml"
};

// `with_tools`: files may bring a template of their own for conversations with tools, which
// transformers prefers then. kNotFound where there is no template and the vocabulary does not tell
// which of the built-in ones it is made for.
Result<ChatTemplateSource> chat_template_source(const Metadata& metadata, bool with_tools);

// The texts of the special tokens that templates ask for. kBadModel for an id outside of the
// vocabulary.
Result<ChatTemplateTokens> chat_template_tokens(const Metadata& metadata);

// Both, compiled.
Result<ChatTemplate> chat_template_of(const Metadata& metadata, bool with_tools = false);

}  // namespace realm
