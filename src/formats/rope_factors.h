// Llama 3's rope scaling as the tensor that GGUF keeps it in: one divisor per rotary frequency.
#pragma once

#include <cstdint>
#include <vector>

namespace realm {

struct Llama3Rope {
  double theta = 500000.0;
  int64_t head_dim = 128;
  float factor = 8.0f;
  float low_freq_factor = 1.0f;
  float high_freq_factor = 4.0f;
  float original_context = 8192.0f;
};

// rope_freqs.weight: head_dim / 2 values. Low frequencies are divided by `factor`, high ones by 1,
// those between by something between (Llama 3.1's release notes). All parameters are positive and
// high_freq_factor > low_freq_factor.
std::vector<float> llama3_frequency_factors(const Llama3Rope& rope);

}  // namespace realm
