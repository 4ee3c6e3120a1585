// The best ternary approximation of a block, for TQ1_0 and TQ2_0. Private to this folder.
#pragma once

#include <cstdint>

#include "formats/quant/scale_fit.h"

namespace realm {

struct TernaryFit {
  float d;            // in the scale of BlockInput::x
  int8_t codes[256];  // -1, 0, 1
};

TernaryFit fit_ternary(const BlockInput& in);

}  // namespace realm
