// `realm quantize`: a model file with its matrices stored as other types. The types of each tensor
// follow the named mix (formats/quant_mix.h); rows are decoded and encoded a few megabytes at a
// time on all cores, so that memory does not grow with the model.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "base/result.h"

namespace realm {

struct QuantizeOptions {
  std::string input = {};         // as open_model takes it
  std::string output = {};        // .gguf
  std::string type = {};          // Q4_K_M, IQ4_XS, F16...
  std::string imatrix_path = {};  // may be empty
  bool pure = false;              // the base type for every matrix
  bool keep_output = false;       // the output matrix keeps its type
  // Also from types that have lost more than Q8_0 has.
  bool allow_requantize = false;
  int threads = 0;  // 0: every core
  std::function<void(size_t index, size_t count)> on_tensor = {};
  const std::atomic<bool>* cancel = nullptr;
};

struct QuantizeReport {
  uint64_t bytes_before = 0, bytes_after = 0;  // of the tensors
  int tensors = 0;
  std::string text() const;
  std::string json() const;
};

// Errors: those of reading the model and the importance matrix; kInvalidArgument for an unknown
// type, one that needs an importance matrix where there is none, a matrix of another model, or a
// model that is quantized too coarsely already; kBadModel for weights that are not finite, naming
// the tensor; kIo, kExhausted of the output; kCancelled. No file is left behind on error.
Result<QuantizeReport> quantize_model(const QuantizeOptions& options);

}  // namespace realm
