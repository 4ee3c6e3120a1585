// `realm template`: the prompt that a chat template makes of a conversation.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace realm {

struct TemplateOptions {
  std::string model = {};     // GGUF file or Hugging Face folder; empty: the embedded realm-tiny
  std::string file = {};      // a Jinja file instead of the model's own template
  std::string messages = {};  // JSON file: a list of messages; "-": standard input
  std::string tools = {};     // JSON file: a list of tools; empty: none
  bool add_generation_prompt = true;
  std::vector<std::string> set = {};  // "name=JSON", variables of the template
};

// The prompt, byte for byte. The special tokens are the model's, also with `file`.
Result<std::string> run_template(const TemplateOptions& options);

}  // namespace realm
