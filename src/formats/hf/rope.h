// Rotary embedding parameters in a config.json, in the two forms in use: `rope_parameters`
// (transformers 5) and `rope_theta` with `rope_scaling` (transformers 4).
#pragma once

#include "formats/json.h"
#include "formats/metadata.h"

namespace realm::hf {

struct RopeOptions {
  bool may_not_truncate = false;  // YaRN's ramp may begin within a pair: the reader knows
  bool log_multiplier = false;    // DeepSeek's magnitude, by mscale_all_dim
};
// Sets ARCH.rope.freq_base and ARCH.rope.scaling.*.
Status set_rope(const JsonObject& config, const std::string& architecture, int64_t context_length,
                Metadata& metadata, const RopeOptions& options = {});
// Layers with a sliding window have a base of their own (Gemma 3): ARCH.rope.freq_base_swa.
Status set_rope_by_layer(const JsonObject& config, const std::string& architecture,
                         int64_t context_length, Metadata& metadata);
// LongRoPE's magnitude (its factors are tensors, long_rope_factors), or one of the others' rules.
Status set_long_rope(const JsonObject& config, const std::string& architecture,
                     int64_t context_length, Metadata& metadata);

}  // namespace realm::hf
