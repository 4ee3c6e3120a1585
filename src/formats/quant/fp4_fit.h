// Rounding to E2M1 under a given scale, for MXFP4 and NVFP4. Private to this folder.
#pragma once

#include <initializer_list>

#include "formats/quant/codebooks.h"

namespace realm {

// The weights of n elements from `first` on; null, which counts as all equal, where they are all
// zero.
inline const float* positive_or_null(const float* importance, int64_t first, int n) {
  if (importance == nullptr) return nullptr;
  for (int i = 0; i < n; ++i) {
    if (importance[first + i] > 0.0f) return importance + first;
  }
  return nullptr;
}

// Index into kFp4Values of the level nearest to x / d; d is the factor of the doubled codebook.
inline int fp4_nearest(float x, float d) {
  const float magnitude = x < 0.0f ? -x : x;
  int index = 0;
  // Half-way points between the levels 0, 1, 2, 3, 4, 6, 8, 12.
  for (const float border : {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f}) {
    index += magnitude > border * d;
  }
  return x < 0.0f && index != 0 ? index + 8 : index;
}

// Sum of squared errors, weighted where weights are given. In double: x may be as large as float
// allows.
inline double fp4_error(const float* x, const float* weights, int n, float d) {
  double total = 0.0;
  for (int i = 0; i < n; ++i) {
    const double miss =
        static_cast<double>(x[i]) - static_cast<double>(d) * kFp4Values[fp4_nearest(x[i], d)];
    total += (weights == nullptr ? 1.0 : static_cast<double>(weights[i])) * miss * miss;
  }
  return total;
}

}  // namespace realm
