#include "formats/quant/iq4_fit.h"

#include <cmath>

#include "formats/quant/codebooks.h"
#include "formats/quant/scale_fit.h"

namespace realm {
namespace {

// The border between two neighbouring levels is a multiple of one half, so the nearest level is a
// function of floor(2 v).
struct NearestTable {
  static constexpr int kOffset = 256;
  uint8_t index[2 * kOffset];
};

constexpr NearestTable make_nearest() {
  NearestTable table{};
  int index = 0;
  for (int half = -NearestTable::kOffset; half < NearestTable::kOffset; ++half) {
    while (index < 15 && half >= kIq4Values[index] + kIq4Values[index + 1]) ++index;
    table.index[half + NearestTable::kOffset] = static_cast<uint8_t>(index);
  }
  return table;
}

constexpr NearestTable kNearest = make_nearest();

struct Sums {
  float xq = 0.0f, qq = 0.0f;
  float gain() const { return qq > 0.0f ? xq * xq / qq : 0.0f; }
};

Sums sums_for(const float* x, const float* w, int n, float inverse) {
  Sums sums;
  for (int i = 0; i < n; ++i) {
    const float q = static_cast<float>(kIq4Values[iq4_nearest(x[i] * inverse)]);
    sums.xq += w[i] * x[i] * q;
    sums.qq += w[i] * q * q;
  }
  return sums;
}

}  // namespace

int iq4_nearest(float v) {
  if (!(v > -127.0f)) return 0;
  if (v >= 127.0f) return 15;
  // + 256 makes the truncation a floor.
  return kNearest.index[static_cast<int>(2.0f * v + 256.0f)];
}

float Iq4Codes::fit(const float* x, const float* w, int n) const {
  const float extreme = extreme_of(x, n);
  if (std::fabs(extreme) < 1e-15f) return 0.0f;
  Sums best;
  const auto consider = [&](float inverse) {
    const Sums sums = sums_for(x, w, n, inverse);
    if (sums.gain() > best.gain()) best = sums;
  };
  for (int step = -7; step <= 7; ++step) {
    const float beyond = 4.0f * static_cast<float>(step);
    consider((-127.0f - beyond) / extreme);
    consider((113.0f + beyond) / extreme);
  }
  for (int round = 0; round < 2 && best.qq > 0.0f && best.xq != 0.0f; ++round) {
    const Sums before = best;
    consider(best.qq / best.xq);
    if (best.gain() <= before.gain()) break;
  }
  return best.qq > 0.0f ? best.xq / best.qq : 0.0f;
}

float Iq4Codes::error(const float* x, const float* w, int n, float scale) const {
  const float inverse = inverse_or_zero(scale);
  float total = 0.0f;
  for (int i = 0; i < n; ++i) {
    const float miss = x[i] - scale * level(x[i], inverse);
    total += w[i] * miss * miss;
  }
  return total;
}

float Iq4Codes::level(float x, float inverse_scale) const {
  return static_cast<float>(kIq4Values[iq4_nearest(x * inverse_scale)]);
}

}  // namespace realm
