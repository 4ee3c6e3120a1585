// The search for the scale of a group of values under IQ4_NL's codebook; serves IQ4_NL and IQ4_XS.
// Private to this folder.
#pragma once

#include <cstdint>

namespace realm {

// Index into kIq4Values of the level nearest to v.
int iq4_nearest(float v);

// Satisfies Codes of fit_symmetric (super_block_fit.h).
struct Iq4Codes {
  bool few() const { return false; }
  float fit(const float* x, const float* w, int n) const;
  float error(const float* x, const float* w, int n, float scale) const;
  float level(float x, float inverse_scale) const;
};

}  // namespace realm
