// Scales, signs and codebook entries of a block of the IQ1, IQ2 and IQ3 formats. Private to this
// folder; the formats' own files only pack the result.
#pragma once

#include <cstdint>

#include "formats/quant/codebook_search.h"
#include "formats/quant/scale_fit.h"

namespace realm {

struct CodebookBlock {
  uint16_t d;            // the stored factor: value = d / divisor * (2 scale + 1) * code
  uint8_t scales[16];    // per group
  uint16_t indices[64];  // per codebook vector
  uint8_t signs[32];     // per 8 elements: bit j set = element j negative (IQ2, IQ3)
  bool negative[32];     // per codebook vector: its delta is -1 (IQ1)
};

// IQ2, IQ3: groups of 16 or 32 elements with scales 0..15. With even_signs the number of negative
// signs in 8 elements is even.
CodebookBlock fit_magnitudes(const BlockInput& in, const CodebookSearch& search, int group,
                             bool even_signs, float divisor);

// IQ1: codes 8 g +- 1 with scales 0..7, divisor 8; one delta per group, or per vector.
CodebookBlock fit_shifted(const BlockInput& in, int group, bool delta_per_vector);

}  // namespace realm
