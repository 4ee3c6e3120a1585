// `realm logits`: the model's raw logits for given token ids, as a file. It is how results are
// compared with other programs, and with ourselves however the work is cut.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "app/model_loader.h"
#include "base/token.h"

namespace realm {

struct LogitsOptions {
  ModelOptions model = {};
  std::vector<Token> tokens = {};  // as they are: no BOS is added
  std::string output = {};         // float32, little-endian, [tokens, vocab]
  int64_t chunk = 0;               // tokens a step; 0: as many as is sensible
  const std::atomic<bool>* cancel = nullptr;
};

// Without model.context, the context is what the tokens need.
// Errors: those of load_for_running; kInvalidArgument for ids out of range, no tokens, or more than
// model.context; kBadModel where a logit is not finite; kIo and kExhausted of the output file.
Status write_logits(const LogitsOptions& options);

}  // namespace realm
