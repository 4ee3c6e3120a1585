#include "formats/quant/ternary_fit.h"

#include <algorithm>
#include <cmath>

namespace realm {

// Whatever d is, the codes that are not zero belong to the largest magnitudes. With the k largest
// coded, the best d is their weighted mean and the squared error falls by (sum w|x|)^2 / (sum w):
// so one pass over the sorted magnitudes finds the best k.
TernaryFit fit_ternary(const BlockInput& in) {
  uint16_t order[256];
  for (int i = 0; i < 256; ++i) order[i] = static_cast<uint16_t>(i);
  std::sort(order, order + 256, [&](uint16_t a, uint16_t b) {
    const float left = std::fabs(in.x[a]), right = std::fabs(in.x[b]);
    return left != right ? left > right : a < b;
  });
  double sum = 0.0, weight = 0.0, best_gain = 0.0;
  int best_count = 0;
  TernaryFit fit{};
  for (int k = 0; k < 256; ++k) {
    const int i = order[k];
    sum += static_cast<double>(in.w[i]) * static_cast<double>(std::fabs(in.x[i]));
    weight += static_cast<double>(in.w[i]);
    const double gain = weight > 0.0 ? sum * sum / weight : 0.0;
    if (gain > best_gain) {
      best_gain = gain;
      best_count = k + 1;
      fit.d = static_cast<float>(sum / weight);
    }
  }
  for (int k = 0; k < best_count; ++k) {
    const float x = in.x[order[k]];
    fit.codes[order[k]] = static_cast<int8_t>(x > 0.0f ? 1 : x < 0.0f ? -1 : 0);
  }
  return fit;
}

}  // namespace realm
