// `realm imatrix`: runs a text through a model and notes, for every matrix of its layers, how large
// the inputs of each column were. `realm quantize --imatrix` weighs its errors by that.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "app/model_loader.h"

namespace realm {

struct ImatrixOptions {
  ModelOptions model = {};  // context 0: windows of 512 tokens
  std::string text_path = {};
  std::string output = {};
  bool parse_special = false;  // control tokens written out in the text are recognized
  std::function<void(int64_t done, int64_t windows)> on_progress = {};
  const std::atomic<bool>* cancel = nullptr;
};

struct ImatrixReport {
  int64_t windows = 0, tokens = 0, entries = 0;
  std::string text() const;
  std::string json() const;
};

// Errors: those of load_for_running; kNotFound, kIo for the text; kInvalidArgument where it is
// shorter than a window or not UTF-8; kBadModel where an input is not finite; those of
// write_imatrix.
Result<ImatrixReport> make_imatrix(const ImatrixOptions& options);

}  // namespace realm
