// exp, log and pow made of IEEE basic operations only. The C library's versions differ in the last
// bit between machines (it picks an FMA variant at run time), and one bit is enough to make a
// seeded request answer differently; these do not. Relative error: exp_float 2e-7, the double ones
// 1e-14.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace realm {

// e^x for x <= 0, zero below kExpLowest. The scalar twin of one lane of exp_block_sums, bit for
// bit.
inline constexpr float kExpLowest = -87.0f;
float exp_float(float x);

// sums[b] = sum over i of exp(x[i] - max) for i in block b of kExpBlock elements; returns the
// total. The order of the additions is fixed, whatever the vector width of the machine.
inline constexpr size_t kExpBlock = 64;
double exp_block_sums(std::span<const float> x, float max, std::vector<double>& sums);

// Sum of exp(d) * d over d = x[i] - max, for entropies. Zero where exp(d) is.
double exp_product_sum(std::span<const float> x, float max);

double exp_double(double x);
double log_double(double x);  // x > 0
// base^exponent for base >= 0; pow(0, 0) = 1.
double pow_double(double base, double exponent);

}  // namespace realm
