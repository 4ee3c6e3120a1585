#include "engine/sampling/philox.h"

#include <gtest/gtest.h>

namespace realm {
namespace {

// The known answers of Random123's own test suite for philox4x32, 10 rounds.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, DrawsAreUniform) {
  constexpr int kBins = 64, kDraws = 64000;
  for (const DrawPurpose purpose : {DrawPurpose::kToken, DrawPurpose::kXtc}) {
    int counts[kBins] = {};
    for (uint64_t step = 0; step < kDraws; ++step) {
      const double u = uniform_draw(42, step, purpose);
      ASSERT_GE(u, 0.0);
      ASSERT_LT(u, 1.0);
      ++counts[static_cast<int>(u * kBins)];
    }
    double chi_square = 0.0;
    for (const int count : counts) {
      const double difference = count - kDraws / kBins;
      chi_square += difference * difference / (kDraws / kBins);
    }
    EXPECT_LT(chi_square, 103.4);  // 63 degrees of freedom, p = 0.001
  }
}

TEST(Philox, EveryPartOfTheStateMatters) {
  const double u = uniform_draw(1, 2, DrawPurpose::kToken);
  EXPECT_EQ(u, uniform_draw(1, 2, DrawPurpose::kToken));
  EXPECT_NE(u, uniform_draw(1, 2, DrawPurpose::kXtc));
  EXPECT_NE(u, uniform_draw(1, 3, DrawPurpose::kToken));
  EXPECT_NE(u, uniform_draw(1, 2 + (uint64_t{1} << 32), DrawPurpose::kToken));
  EXPECT_NE(u, uniform_draw(2, 2, DrawPurpose::kToken));
  EXPECT_NE(u, uniform_draw(1 + (uint64_t{1} << 32), 2, DrawPurpose::kToken));
}

}  // namespace
}  // namespace realm
