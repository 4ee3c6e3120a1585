#include "engine/sampling/portable_math.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace realm {
namespace {

// Four floats: SSE2 and NEON have them on every machine, so no ISA variant is needed.
using Float4 = float __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));

constexpr float kLog2E = 1.44269504f;
// ln 2 in two parts; the first has few enough bits that n * kLn2High is exact for |n| < 2^11.
constexpr float kLn2High = 0.693359375f;
constexpr float kLn2Low = -2.12194440e-4f;
// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
constexpr float kRounder = 12582912.0f;

Float4 splat(float x) {
  return Float4{x, x, x, x};
}

// The one formula of both twins; T is float or Float4.
template <typename T>
T exp_polynomial(T r) {
  T p = r * (1.0f / 5040.0f) + (1.0f / 720.0f);
  p = p * r + (1.0f / 120.0f);
  p = p * r + (1.0f / 24.0f);
  p = p * r + (1.0f / 6.0f);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  return p * r + 1.0f;
}

Float4 exp4(Float4 x) {
  const Int4 keep = x >= splat(kExpLowest);
  x = x > splat(kExpLowest) ? x : splat(kExpLowest);
  const Float4 rounded = x * kLog2E + kRounder;
  const Float4 n = rounded - kRounder;
  const Float4 r = (x - n * kLn2High) - n * kLn2Low;
  const Float4 p = exp_polynomial(r);
  // p * 2^n through the exponent field; n >= -126 here, so the result stays normal.
  const Int4 shift = (std::bit_cast<Int4>(rounded) - std::bit_cast<Int4>(splat(kRounder))) << 23;
  return std::bit_cast<Float4>((std::bit_cast<Int4>(p) + shift) & keep);
}

Float4 load4(const float* p) {
  Float4 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Calls `take` with the sum of f(x[i] - max) over each block of kExpBlock elements.
template <typename F, typename Take>
void sum_blocks(std::span<const float> x, float max, F f, Take take) {
  const Float4 max4 = splat(max);
  for (size_t begin = 0; begin < x.size(); begin += kExpBlock) {
    const float* block = x.data() + begin;
    float padded[kExpBlock];
    if (const size_t left = x.size() - begin; left < kExpBlock) {
      for (size_t i = 0; i < kExpBlock; ++i) {
        padded[i] = i < left ? block[i] : -std::numeric_limits<float>::infinity();
      }
      block = padded;
    }
    Float4 lanes = splat(0.0f);
    for (size_t i = 0; i < kExpBlock; i += 4) lanes += f(load4(block + i) - max4);
    take((static_cast<double>(lanes[0]) + static_cast<double>(lanes[1])) +
         (static_cast<double>(lanes[2]) + static_cast<double>(lanes[3])));
  }
}

}  // namespace

float exp_float(float x) {
  if (!(x >= kExpLowest)) return 0.0f;
  const float rounded = x * kLog2E + kRounder;
  const float n = rounded - kRounder;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  const float p = exp_polynomial(r);
  const uint32_t shift = (std::bit_cast<uint32_t>(rounded) - std::bit_cast<uint32_t>(kRounder))
                         << 23;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + shift);
}

double exp_block_sums(std::span<const float> x, float max, std::vector<double>& sums) {
  sums.clear();
  double total = 0.0;
  sum_blocks(
      x, max, [](Float4 d) { return exp4(d); },
      [&](double sum) {
        sums.push_back(sum);
        total += sum;
      });
  return total;
}

double exp_product_sum(std::span<const float> x, float max) {
  double total = 0.0;
  const Float4 lowest = splat(kExpLowest);
  // The clamp keeps 0 * -infinity out; exp4 of the unclamped value is zero there.
  sum_blocks(
      x, max, [&](Float4 d) { return exp4(d) * (d > lowest ? d : lowest); },
      [&](double sum) { total += sum; });
  return total;
}

double exp_double(double x) {
  if (x < -708.0) return 0.0;
  if (x > 709.0) return std::numeric_limits<double>::infinity();
  constexpr double kLog2EDouble = 1.4426950408889634074;
  constexpr double kLn2HighDouble = 6.93147180369123816490e-01;
  constexpr double kLn2LowDouble = 1.90821492927058770002e-10;
  const double n = std::floor(x * kLog2EDouble + 0.5);
  const double r = (x - n * kLn2HighDouble) - n * kLn2LowDouble;
  double term = 1.0, sum = 1.0;
  for (int i = 1; i <= 14; ++i) {  // |r| <= 0.35: the 15th term is below 1e-19
    term = term * r / i;
    sum += term;
  }
  return std::ldexp(sum, static_cast<int>(n));
}

double log_double(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // [0.5, 1)
  if (m < 0.70710678118654752440) {
    m *= 2.0;
    --exponent;
  }
  // log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716: the odd series to s^21.
  const double s = (m - 1.0) / (m + 1.0);
  const double s2 = s * s;
  double series = 0.0;
  for (int i = 21; i >= 1; i -= 2) series = series * s2 + 1.0 / i;
  return 2.0 * s * series + exponent * 0.69314718055994530942;
}

double pow_double(double base, double exponent) {
  if (exponent == 0.0) return 1.0;
  if (base <= 0.0) return 0.0;
  return exp_double(exponent * log_double(base));
}

}  // namespace realm
