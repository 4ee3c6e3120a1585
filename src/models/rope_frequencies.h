// Rotary frequencies under every scaling rule that a GGUF file can name, reduced to what the ops
// need: one inverse frequency per rotated pair, and one magnitude.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "formats/tensor_directory.h"

namespace realm {

struct RopeFrequencies {
  std::vector<float> inv_freq;  // [n_rot / 2], radians a position
  float magnitude = 1.0f;
};

// Reads ARCH.rope.freq_base, .rope.scaling.* and the tensor rope_freqs.weight (factors that divide
// the frequencies, as Llama 3.1 and later ship them). n_rot: rotated elements of a head, even.
Result<RopeFrequencies> read_rope_frequencies(const TensorDirectory& file, const std::string& arch,
                                              int64_t n_rot, int64_t trained_context);

}  // namespace realm
