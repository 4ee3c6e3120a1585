// Rotary embedding parameters in a config.json, in the two forms in use: `rope_parameters`
// (transformers 5) and `rope_theta` with `rope_scaling` (transformers 4).
#pragma once

#include "formats/json.h"
#include "formats/metadata.h"

namespace realm::hf {

// Sets ARCH.rope.freq_base and ARCH.rope.scaling.*.
Status set_rope(const JsonObject& config, const std::string& architecture, int64_t context_length,
                Metadata& metadata);

}  // namespace realm::hf
