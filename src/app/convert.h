// `realm convert`: a Hugging Face checkpoint or PEFT adapter to GGUF.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace realm {

struct ConvertOptions {
  std::string input;   // folder
  std::string output;  // .gguf
  std::string type = "auto";
  std::string base;  // for an adapter: its base model, a checkpoint folder or a GGUF file
  // Called before each tensor with its index and their number.
  std::function<void(size_t, size_t)> on_progress;
};

Status run_convert(const ConvertOptions& options);

}  // namespace realm
