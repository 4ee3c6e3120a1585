// `realm embed`: vectors of texts, as /v1/embeddings gives them, without a server.
#pragma once

#include <atomic>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "app/model_loader.h"
#include "base/token.h"
#include "engine/pooler.h"

namespace realm {

struct EmbedOptions {
  ModelOptions model = {};
  std::vector<std::string> texts = {};
  std::optional<std::vector<Token>> tokens = {};  // in place of texts: ids as they are
  std::optional<Pooling> pooling = {};            // none: the model's own
  bool normalize = true;
  const std::atomic<bool>* cancel = nullptr;
};

// The texts of a file or of standard input ("-"), one a line.
Result<std::vector<std::string>> read_lines(const std::string& path, std::FILE* input);

// A JSON array a line. Errors: those of load_for_running; kInvalidArgument for a text longer than
// the context or without tokens; kUnsupported for a model that gives no embeddings.
Status embed_command(const EmbedOptions& options, std::FILE* output);

}  // namespace realm
