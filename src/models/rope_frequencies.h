// Rotary frequencies under every scaling rule that a GGUF file can name, reduced to what the ops
// need: one inverse frequency per rotated pair, and one magnitude; and the op that makes a step's
// table of them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "formats/tensor_directory.h"
#include "models/model.h"
#include "models/weight_loader.h"

namespace realm {

struct RopeFrequencies {
  std::vector<float> inv_freq;  // [n_rot / 2], radians a position
  float magnitude = 1.0f;
  // LongRoPE (Ding et al. 2024): the frequencies of an engine whose context is longer than the
  // original one; else empty. One choice for all of an engine's sequences, so that the length of a
  // text does not change what was computed of its start.
  std::vector<float> long_inv_freq;
  int64_t original_context = 0;
};

// What a family's files have in other places than most.
struct RopeKeys {
  const char* base = "freq_base";
  double default_base = 10000.0;
  bool scaled = true;    // by rope.scaling.* and the tensors of factors
  bool truncate = true;  // YaRN's ramp begins and ends at whole pairs
};

// Reads ARCH.rope.freq_base, .rope.scaling.* and the tensors rope_freqs.weight (factors that divide
// the frequencies, as Llama 3.1 and later ship them) or rope_factors_short and _long.weight. n_rot:
// rotated elements of a head, even.
Result<RopeFrequencies> read_rope_frequencies(const TensorDirectory& file, const std::string& arch,
                                              int64_t n_rot, int64_t trained_context,
                                              const RopeKeys& keys = {});

// Frequencies on the backend.
class RopeTables {
 public:
  // `frequencies` outlives the object.
  static Result<RopeTables> load(WeightLoader& loader, const RopeFrequencies& frequencies);
  // The step's angles, [T, n_rot].
  TensorView add_table(ProgramBuilder& builder, const StepInputs& inputs) const;

 private:
  TensorView inv_freq_, long_inv_freq_;
  float magnitude_ = 1.0f;
  int64_t original_context_ = 0;
};

}  // namespace realm
