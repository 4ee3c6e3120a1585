// `realm synth`: a model file of a real shape with random weights, to bench with.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace realm {

struct SynthOptions {
  std::string output;
  std::string preset;
  std::string type = "Q8_0";
  int layers = 0;  // 0: the preset's
  uint64_t seed = 1;
  // Called before each tensor with its index and their number.
  std::function<void(size_t, size_t)> on_progress;
};

Status run_synth(const SynthOptions& options);

}  // namespace realm
