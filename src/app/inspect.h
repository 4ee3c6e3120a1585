// `realm inspect`: what a model or adapter file holds, without loading it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace realm {

struct InspectOptions {
  std::string model;     // as open_model takes it
  bool tensors = false;  // list every tensor
  bool json = false;
  int64_t context = 0;          // for the memory estimate; 0: the model's own, at most 8192
  std::string kv_type = "f16";  // one of kv_types()
};

// The report, as text for a terminal or as one JSON object.
Result<std::string> inspect_model(const InspectOptions& options);

// Prints it on stdout.
Status run_inspect(const InspectOptions& options);

}  // namespace realm
