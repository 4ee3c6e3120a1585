#include "engine/sampling/portable_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace realm {
namespace {

TEST(PortableMath, ExpFloat) {
  double worst = 0.0;
  for (float x = 0.0f; x > -87.0f; x -= 0.0037f) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(exp_float(x) - exact) / exact);
  }
  EXPECT_LT(worst, 2e-7);
  EXPECT_EQ(exp_float(0.0f), 1.0f);
  EXPECT_EQ(exp_float(-87.1f), 0.0f);
  EXPECT_EQ(exp_float(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_GT(exp_float(-87.0f), 0.0f);
}

TEST(PortableMath, BlockSumsAreTheSumsOfTheScalar) {
  for (const size_t n : {1u, 3u, 4u, 63u, 64u, 65u, 1000u}) {
    std::vector<float> x(n);
    for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>((i * 7919) % 613) * -0.17f;
    x[n / 2] = -std::numeric_limits<float>::infinity();
    std::vector<double> sums;
    const double total = exp_block_sums(x, 0.5f, sums);
    ASSERT_EQ(sums.size(), (n + kExpBlock - 1) / kExpBlock);
    double want_total = 0.0, total_of_sums = 0.0;
    for (size_t b = 0; b < sums.size(); ++b) {
      double want = 0.0;
      for (size_t i = b * kExpBlock; i < std::min(n, (b + 1) * kExpBlock); ++i) {
        want += exp_float(x[i] - 0.5f);
      }
      EXPECT_NEAR(sums[b], want, 1e-6 * want);
      want_total += want;
      total_of_sums += sums[b];
    }
    EXPECT_NEAR(total, want_total, 1e-6 * want_total);
    EXPECT_EQ(total, total_of_sums);
  }
}

TEST(PortableMath, ProductSumSkipsWhatHasNoWeight) {
  const std::vector<float> x = {1.0f, 0.5f, -3.0f, -200.0f,
                                -std::numeric_limits<float>::infinity()};
  const double want = -0.5 * std::exp(-0.5) - 4.0 * std::exp(-4.0);
  EXPECT_NEAR(exp_product_sum(x, 1.0f), want, 1e-6);
}

TEST(PortableMath, OneElementIsTheVectorsTwinBitForBit) {
  std::vector<double> sums;
  for (float x = 0.0f; x > -90.0f; x -= 0.0113f) {
    EXPECT_EQ(exp_block_sums(std::span(&x, 1), 0.0f, sums), static_cast<double>(exp_float(x)));
  }
}

TEST(PortableMath, Doubles) {
  for (double x = -700.0; x < 700.0; x += 0.731) {
    EXPECT_NEAR(exp_double(x) / std::exp(x), 1.0, 1e-13) << x;
  }
  EXPECT_EQ(exp_double(0.0), 1.0);
  EXPECT_EQ(exp_double(-800.0), 0.0);
  EXPECT_EQ(exp_double(800.0), std::numeric_limits<double>::infinity());
  for (double x = 1e-300; x < 1e300; x *= 3.7) {
    EXPECT_NEAR(log_double(x), std::log(x), 1e-14 * std::abs(std::log(x))) << x;
  }
  for (double x = 0.9; x < 1.1; x += 0.00013) EXPECT_NEAR(log_double(x), std::log(x), 1e-15);
  EXPECT_EQ(log_double(1.0), 0.0);
  EXPECT_NEAR(pow_double(1.75, 10.0), std::pow(1.75, 10.0), 1e-10);
  EXPECT_NEAR(pow_double(0.3, 0.5), std::sqrt(0.3), 1e-14);
  EXPECT_EQ(pow_double(0.0, 0.0), 1.0);
  EXPECT_EQ(pow_double(0.0, 2.0), 0.0);
  EXPECT_EQ(pow_double(1.0, 1e9), 1.0);
  EXPECT_EQ(pow_double(2.0, 1e9), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace realm
