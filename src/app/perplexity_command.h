// `realm perplexity`: how well a model predicts a text. The measure is the one llama.cpp made
// common, so that figures can be compared: the text is cut into windows of `context` tokens that do
// not overlap; where the model asks for a BOS, it replaces each window's first token; the tokens of
// a window's second half are scored, each given all that stands before it in the window.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "app/model_loader.h"

namespace realm {

struct PerplexityProgress {
  int64_t windows_done, windows;
  double perplexity;  // of the windows so far
};

struct PerplexityOptions {
  ModelOptions model = {};  // context 0: windows of 512 tokens
  std::string text_path = {};
  bool parse_special = false;  // control tokens written out in the text are recognized
  std::function<void(const PerplexityProgress&)> on_progress = {};
  const std::atomic<bool>* cancel = nullptr;
};

struct PerplexityReport {
  std::string model;
  double perplexity = 0;      // exp of the mean negative log likelihood
  double standard_error = 0;  // of the perplexity
  int64_t context = 0, windows = 0;
  int64_t tokens = 0;  // of the text
  int64_t tokens_scored = 0;
  double seconds = 0;

  std::string text() const;  // lines for people
  std::string json() const;  // one object
};

// Errors: those of load_for_running; kNotFound, kIo for the text; kInvalidArgument where it is
// shorter than two windows, is not UTF-8, or the window is below 4 tokens; kBadModel where a logit
// is not finite.
Result<PerplexityReport> measure_perplexity(const PerplexityOptions& options);

}  // namespace realm
