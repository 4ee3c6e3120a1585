// What the encoders share: weights of elements, and the search for the scale (and minimum) that
// loses least when a group of values is rounded to integers. Groups are scaled to a largest
// magnitude of 1 first (BlockInput), so that no sum overflows or vanishes whatever the tensor's
// range. Private to this folder; everything here is pure, hence safe to call from many threads.
//
// The searches try a row of scales; for each, the rounded codes give by least squares the scale
// that fits those codes best. That beats rounding with the scale the extremes suggest by 5 to 30 %
// of squared error, the more the fewer bits a code has.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace realm {

// Round half to even, for |x| < 2^22.
inline int round_to_int(float x) {
  return static_cast<int>((x + 0x1.8p23f) - 0x1.8p23f);
}

inline int clamp_int(int x, int low, int high) {
  return x < low ? low : x > high ? high : x;
}

// A factor as binary16: the largest finite one where x lies beyond it (an infinite scale would turn
// every zero of the block into NaN), and the smallest where x would vanish.
uint16_t to_fp16_factor(float x);

// One block of at most 256 values, divided by their largest magnitude, with a weight each.
struct BlockInput {
  float x[256];
  float w[256];
  float unit;  // the value that 1.0 stands for

  // A block that is all zero (or below 1e-30) becomes x = 0, w = 1, unit = 1.
  // w is the importance relative to its mean in the block, and 1 where there is none or it is all
  // zero: the squared error of a layer's output is then what the encoders minimize, as far as its
  // inputs are independent.
  void load(const float* src, const float* importance, int num_elements);

  // A stored factor in the scale of x.
  float relative(uint16_t fp16_factor) const;
};

// The scale s for which codes round(x / s) in [low, high] give the least sum of w (x - s code)^2.
// low < 0 < high. May be negative: the wider side of the code range then takes the wider side of x.
// 0 where x is all zero. n is a multiple of 4.
float fit_scale(const float* x, const float* w, int n, int low, int high);

// The stored factor for codes in [low, high] over the first n elements: fit_scale's, or a neighbour
// that loses less once it is rounded to fp16.
uint16_t fit_factor(const BlockInput& in, int n, int low, int high);

// Sum of w (x - scale code)^2 with the nearest codes.
float scale_error(const float* x, const float* w, int n, int low, int high, float scale);

struct AffineFit {
  float scale;  // >= 0
  float min;
};

// The scale and minimum for which codes 0..high give the least sum of w (x - scale code - min)^2.
// With min_not_positive, min <= 0 holds, as in the K formats. n is a multiple of 4.
AffineFit fit_affine(const float* x, const float* w, int n, int high, bool min_not_positive);

// fit_affine with any minimum for the first n elements, in stored factors.
struct AffineFactors {
  uint16_t d, m;
};
AffineFactors fit_affine_factors(const BlockInput& in, int n, int high);

float affine_error(const float* x, const float* w, int n, int high, AffineFit fit);

// The nearest code, for writing a block once its scale is final.
inline int nearest_code(float x, float inverse_scale, int low, int high) {
  const float scaled = x * inverse_scale;
  if (!(scaled > static_cast<float>(low))) return low;
  return scaled >= static_cast<float>(high) ? high : round_to_int(scaled);
}

// The one of fp16 factors `fitted`, its two neighbours and `other` for which error(factor) is
// least.
template <typename Error>
uint16_t least_factor(uint16_t fitted, uint16_t other, const Error& error) {
  uint16_t best = fitted;
  float least = error(fitted);
  for (const int candidate : {fitted - 1, fitted + 1, static_cast<int>(other)}) {
    if ((candidate & 0x7fff) > 0x7bff || candidate < 0) continue;
    const float loss = error(static_cast<uint16_t>(candidate));
    if (loss < least) {
      least = loss;
      best = static_cast<uint16_t>(candidate);
    }
  }
  return best;
}

// The value of largest magnitude.
float extreme_of(const float* x, int n);

inline float inverse_or_zero(float scale) {
  return scale == 0.0f ? 0.0f : 1.0f / scale;
}

}  // namespace realm
