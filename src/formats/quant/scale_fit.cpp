#include "formats/quant/scale_fit.h"

#include <cmath>
#include <cstring>

#include "base/half.h"

namespace realm {
namespace {

// Four lanes in the compilers' portable vector type: sums of floats are not reordered behind our
// back, and the same source serves SSE2 and NEON.
typedef float Lanes __attribute__((vector_size(16)));

Lanes load4(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

Lanes splat(float x) {
  return Lanes{x, x, x, x};
}

float sum(Lanes v) {
  return (v[0] + v[2]) + (v[1] + v[3]);
}

// Rounds within [low, high]. Clamping first keeps the trick of adding 1.5 * 2^23 in its range.
Lanes round_clamped(Lanes v, Lanes low, Lanes high) {
  v = v < low ? low : v;
  v = v > high ? high : v;
  return (v + splat(0x1.8p23f)) - splat(0x1.8p23f);
}

struct ScaleSums {
  float xq, qq;  // sum of w x q, of w q^2
  // Reduction of the squared error, from codes all zero, if the scale is xq / qq.
  float gain() const { return qq > 0.0f ? xq * xq / qq : 0.0f; }
};

ScaleSums scale_sums(const float* x, const float* w, int n, Lanes low, Lanes high, float inverse) {
  Lanes xq = splat(0.0f), qq = splat(0.0f);
  const Lanes factor = splat(inverse);
  for (int i = 0; i < n; i += 4) {
    const Lanes values = load4(x + i);
    const Lanes q = round_clamped(values * factor, low, high);
    const Lanes wq = load4(w + i) * q;
    xq += wq * values;
    qq += wq * q;
  }
  return {sum(xq), sum(qq)};
}

struct AffineSums {
  float w, x, q, xq, qq;
};

// The best scale and minimum for given codes.
AffineFit solve(const AffineSums& sums, bool min_not_positive) {
  const double w = sums.w, x = sums.x, q = sums.q, xq = sums.xq, qq = sums.qq;
  const double determinant = w * qq - q * q;
  AffineFit fit{0.0f, w > 0 ? static_cast<float>(x / w) : 0.0f};
  if (determinant > 1e-9 * w * qq) {
    fit.scale = static_cast<float>((w * xq - x * q) / determinant);
    fit.min = static_cast<float>((qq * x - q * xq) / determinant);
  }
  if (min_not_positive && fit.min > 0.0f) {
    fit.min = 0.0f;
    fit.scale = qq > 0 ? static_cast<float>(xq / qq) : 0.0f;
  }
  if (fit.scale < 0.0f) fit.scale = 0.0f;
  return fit;
}

AffineFit refit(const float* x, const float* w, int n, Lanes high, float inverse, float min,
                bool min_not_positive) {
  Lanes sw = splat(0.0f), sx = sw, sq = sw, sxq = sw, sqq = sw;
  const Lanes factor = splat(inverse), offset = splat(min), zero = splat(0.0f);
  for (int i = 0; i < n; i += 4) {
    const Lanes values = load4(x + i);
    const Lanes weights = load4(w + i);
    const Lanes q = round_clamped((values - offset) * factor, zero, high);
    const Lanes wq = weights * q;
    sw += weights;
    sx += weights * values;
    sq += wq;
    sxq += wq * values;
    sqq += wq * q;
  }
  return solve({sum(sw), sum(sx), sum(sq), sum(sxq), sum(sqq)}, min_not_positive);
}

}  // namespace

uint16_t to_fp16_factor(float x) {
  if (x > 65504.0f) return 0x7bff;
  if (x < -65504.0f) return 0xfbff;
  const uint16_t rounded = float_to_fp16(x);
  const bool vanished = (rounded & 0x7fff) == 0 && x != 0.0f;
  return vanished ? static_cast<uint16_t>(rounded | 1) : rounded;
}

float BlockInput::relative(uint16_t fp16_factor) const {
  return fp16_to_float(fp16_factor) / unit;
}

void BlockInput::load(const float* src, const float* importance, int num_elements) {
  float largest = 0.0f;
  for (int i = 0; i < num_elements; ++i) largest = std::fmax(largest, std::fabs(src[i]));
  if (largest < 1e-30f) {
    unit = 1.0f;
    for (int i = 0; i < num_elements; ++i) {
      x[i] = 0.0f;
      w[i] = 1.0f;
    }
    return;
  }
  unit = largest;
  double total_importance = 0.0;
  for (int i = 0; i < num_elements; ++i) {
    x[i] = src[i] / largest;
    w[i] = 1.0f;
    if (importance != nullptr) total_importance += static_cast<double>(importance[i]);
  }
  if (total_importance > 0.0) {
    // The floor keeps codes sensible where the calibration text left an input untouched.
    constexpr float kFloor = 1e-4f;
    const double factor = num_elements / total_importance;
    for (int i = 0; i < num_elements; ++i) {
      w[i] = kFloor + static_cast<float>(static_cast<double>(importance[i]) * factor);
    }
  }
}

float extreme_of(const float* x, int n) {
  float extreme = 0.0f;
  for (int i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  return extreme;
}

uint16_t fit_factor(const BlockInput& in, int n, int low, int high) {
  const float fitted = fit_scale(in.x, in.w, n, low, high) * in.unit;
  if (fitted == 0.0f) return 0;
  const float plain = extreme_of(in.x, n) * in.unit / static_cast<float>(low);
  return least_factor(to_fp16_factor(fitted), to_fp16_factor(plain), [&](uint16_t factor) {
    return scale_error(in.x, in.w, n, low, high, in.relative(factor));
  });
}

float scale_error(const float* x, const float* w, int n, int low, int high, float scale) {
  Lanes error = splat(0.0f);
  const Lanes factor = splat(inverse_or_zero(scale)), step = splat(scale);
  const Lanes lower = splat(static_cast<float>(low)), upper = splat(static_cast<float>(high));
  for (int i = 0; i < n; i += 4) {
    const Lanes values = load4(x + i);
    const Lanes miss = values - step * round_clamped(values * factor, lower, upper);
    error += load4(w + i) * miss * miss;
  }
  return sum(error);
}

float fit_scale(const float* x, const float* w, int n, int low, int high) {
  const float extreme = extreme_of(x, n);
  if (std::fabs(extreme) < 1e-15f) return 0.0f;
  const Lanes lower = splat(static_cast<float>(low)), upper = splat(static_cast<float>(high));
  ScaleSums best{0.0f, 0.0f};
  const auto consider = [&](float inverse) {
    const ScaleSums sums = scale_sums(x, w, n, lower, upper, inverse);
    // Of candidates that are equal but for rounding, the first: it is the simplest.
    if (sums.gain() > best.gain() * (1.0f + 3e-7f)) best = sums;
  };
  consider(static_cast<float>(low) / extreme);
  // The extreme lands near either end of the code range, or beyond it and is cut off.
  constexpr int kSteps = 10;
  for (int step = -kSteps; step <= kSteps; ++step) {
    const float beyond = static_cast<float>(step) * 0.1f;
    consider((static_cast<float>(low) - beyond) / extreme);
    if (high != -low && high <= 8) consider((static_cast<float>(high) + beyond) / extreme);
  }
  // Few codes: an outlier may be worth giving up for the sake of the others.
  if (high <= 4) {
    for (int step = 1; step <= 8; ++step) {
      consider(static_cast<float>(low) * (1.0f + 0.25f * static_cast<float>(step)) / extreme);
    }
  }
  for (int round = 0; round < 2 && best.qq > 0.0f && best.xq != 0.0f; ++round) {
    const ScaleSums before = best;
    consider(best.qq / best.xq);
    if (best.gain() <= before.gain()) break;
  }
  return best.qq > 0.0f ? best.xq / best.qq : 0.0f;
}

float affine_error(const float* x, const float* w, int n, int high, AffineFit fit) {
  Lanes error = splat(0.0f);
  const Lanes factor = splat(inverse_or_zero(fit.scale)), step = splat(fit.scale);
  const Lanes offset = splat(fit.min);
  const Lanes zero = splat(0.0f), upper = splat(static_cast<float>(high));
  for (int i = 0; i < n; i += 4) {
    const Lanes values = load4(x + i) - offset;
    const Lanes miss = values - step * round_clamped(values * factor, zero, upper);
    error += load4(w + i) * miss * miss;
  }
  return sum(error);
}

AffineFit fit_affine(const float* x, const float* w, int n, int high, bool min_not_positive) {
  float smallest = x[0], largest = x[0];
  for (int i = 1; i < n; ++i) {
    smallest = x[i] < smallest ? x[i] : smallest;
    largest = x[i] > largest ? x[i] : largest;
  }
  if (min_not_positive && smallest > 0.0f) smallest = 0.0f;
  const float range = largest - smallest;
  if (range < 1e-15f) return {0.0f, smallest};
  const Lanes upper = splat(static_cast<float>(high));
  AffineFit best{range / static_cast<float>(high), smallest};
  float best_error = affine_error(x, w, n, high, best);
  const auto consider = [&](float inverse, float min) {
    const AffineFit fit = refit(x, w, n, upper, inverse, min, min_not_positive);
    const float error = affine_error(x, w, n, high, fit);
    if (error >= best_error) return false;
    best = fit;
    best_error = error;
    return true;
  };
  constexpr int kSteps = 20;
  for (int step = 0; step <= kSteps; ++step) {
    const float beyond = 0.1f * static_cast<float>(step) - 0.8f;
    consider((static_cast<float>(high) + beyond) / range, smallest);
  }
  for (int round = 0; round < 3 && best.scale > 0.0f; ++round) {
    if (!consider(1.0f / best.scale, best.min)) break;
  }
  return best;
}

AffineFactors fit_affine_factors(const BlockInput& in, int n, int high) {
  const AffineFit fit = fit_affine(in.x, in.w, n, high, false);
  AffineFactors factors{to_fp16_factor(fit.scale * in.unit), 0};
  // The minimum makes up for what rounding did to d.
  const auto min_for = [&](uint16_t d) {
    const float scale = in.relative(d), inverse = inverse_or_zero(scale);
    double misses = 0.0, weights = 0.0;
    for (int i = 0; i < n; ++i) {
      const float q = static_cast<float>(nearest_code(in.x[i] - fit.min, inverse, 0, high));
      misses += static_cast<double>(in.w[i] * (in.x[i] - scale * q));
      weights += static_cast<double>(in.w[i]);
    }
    const double min = weights > 0.0 ? misses / weights : static_cast<double>(fit.min);
    return to_fp16_factor(static_cast<float>(min) * in.unit);
  };
  factors.d = least_factor(factors.d, factors.d, [&](uint16_t d) {
    return affine_error(in.x, in.w, n, high, {in.relative(d), in.relative(min_for(d))});
  });
  factors.m = min_for(factors.d);
  return factors;
}

}  // namespace realm
