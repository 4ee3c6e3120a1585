#include "formats/quant/f8_e4m3.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "formats/quant/quant_table.h"
#include "formats/tensor_directory.h"

namespace realm {
namespace {

// By the specification: sign, exponent and mantissa as numbers.
float value_of(int code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(1.0f + static_cast<float>(mantissa) / 8, exponent - 7);
  return code & 0x80 ? -magnitude : magnitude;
}

TEST(F8E4M3, EveryCodeIsItsValueAndComesBack) {
  for (int code = 0; code < 256; ++code) {
    const auto byte = static_cast<uint8_t>(code);
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(e4m3_to_float(byte)));
      continue;
    }
    EXPECT_EQ(e4m3_to_float(byte), value_of(code)) << code;
    EXPECT_EQ(std::signbit(e4m3_to_float(byte)), code >= 0x80) << code;
    EXPECT_EQ(float_to_e4m3(e4m3_to_float(byte)), byte);
  }
}

TEST(F8E4M3, BetweenTwoCodesTheNearerIsTakenAndTheEvenOneHalfway) {
  for (int code = 0; code < 0x7e; ++code) {
    const float low = value_of(code), high = value_of(code + 1), middle = (low + high) / 2;
    EXPECT_EQ(float_to_e4m3(std::nextafter(middle, low)), code);
    EXPECT_EQ(float_to_e4m3(std::nextafter(middle, high)), code + 1);
    EXPECT_EQ(float_to_e4m3(middle), code % 2 == 0 ? code : code + 1);
    EXPECT_EQ(float_to_e4m3(-middle), 0x80 + (code % 2 == 0 ? code : code + 1));
  }
}

TEST(F8E4M3, Extremes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(float_to_e4m3(449.0f), 0x7e);
  EXPECT_EQ(float_to_e4m3(1e30f), 0x7e);
  EXPECT_EQ(float_to_e4m3(kInfinity), 0x7e);
  EXPECT_EQ(float_to_e4m3(-kInfinity), 0xfe);
  EXPECT_EQ(float_to_e4m3(std::numeric_limits<float>::quiet_NaN()) & 0x7f, 0x7f);
  EXPECT_EQ(float_to_e4m3(1e-30f), 0);
  EXPECT_EQ(float_to_e4m3(-1e-40f), 0x80);
}

TEST(F8E4M3, NoFileHoldsIt) {
  ASSERT_NE(find_block_format(kF8E4M3), nullptr);
  EXPECT_STREQ(find_block_format(kF8E4M3)->name, "F8_E4M3");
  EXPECT_EQ(find_block_format("f8_e4m3"), nullptr);
  EXPECT_FALSE(is_known_dtype(kF8E4M3));
  EXPECT_FALSE(tensor_bytes(kF8E4M3, {32}).ok());
  for (const BlockFormat& format : block_formats()) EXPECT_NE(format.type, kF8E4M3);
}

}  // namespace
}  // namespace realm
