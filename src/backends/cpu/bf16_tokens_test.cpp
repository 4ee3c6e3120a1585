// Tokens packed into bfloat16 tiles: where each element lies, and how close its parts come.
#if defined(__x86_64__)
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "backends/cpu/bf16_tiles_amx.h"
#include "backends/cpu/isa.h"

namespace realm::cpu::amx {
namespace {

float widened(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

std::vector<float> some_floats(size_t n) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kLargest = std::numeric_limits<float>::max();
  const std::vector<float> special = {0.0f,
                                      -0.0f,
                                      kInfinity,
                                      -kInfinity,
                                      kLargest,
                                      -kLargest,
                                      1e-38f,
                                      -3e-39f,
                                      1e-45f,
                                      1.7e38f,
                                      1.0f,
                                      1.00390625f,
                                      std::bit_cast<float>(0x7f800001u),
                                      std::bit_cast<float>(0xffffffffu)};
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) {
    x[i] = i % 7 == 3 ? special[i / 7 % special.size()]
                      : std::ldexp(normal(random), static_cast<int>(random() % 40) - 20);
  }
  return x;
}

void check_element(float x, float high, float low, bool both) {
  if (std::isnan(x)) {
    EXPECT_TRUE(std::isnan(high));
    EXPECT_EQ(low, 0.0f);
  } else if (std::isinf(x)) {
    EXPECT_EQ(high, x);
    EXPECT_EQ(low, 0.0f);
  } else {
    const double size = std::fabs(double{x});
    const double error = std::fabs(double{x} - high - low);
    // Rounded down, not to the nearest, where the nearest may be infinite.
    const double bits = size < 0x1p127 ? 1 : 2;
    EXPECT_LE(error, bits * size * (both ? 0x1p-17 : 0x1p-8) + 0x1p-134) << x;
    EXPECT_EQ(std::signbit(high), std::signbit(x)) << x;
  }
}

TEST(Bf16Tokens, EveryElementAndPartInItsPlace) {
  if (!has_isa(Isa::kAmx)) GTEST_SKIP() << "no AMX";
  for (const Bf16Parts parts : {Bf16Parts::kHigh, Bf16Parts::kHighLow}) {
    const bool both = parts == Bf16Parts::kHighLow;
    for (const int64_t k : {1, 16, 17, 31, 32, 33, 160, 1000}) {
      for (const int64_t tokens : {1, 2, 15, 16, 17, 40}) {
        const int64_t stride = k + 3;
        // Nothing after the last row's last element may be read.
        const std::vector<float> x = some_floats(static_cast<size_t>((tokens - 1) * stride + k));
        std::vector<Bf16Tokens> tiles(static_cast<size_t>(bf16_tokens_bytes(tokens, k, parts)) /
                                      sizeof(Bf16Tokens));
        for (int64_t tile = 0; tile < bf16_token_tiles(tokens); ++tile) {
          pack_bf16_tokens(x.data(), stride, tokens, k, tile, parts, tiles.data());
        }
        for (int64_t t = 0; t < bf16_token_tiles(tokens) * kBf16Tokens; ++t) {
          for (int64_t i = 0; i < bf16_blocks(k) * kBf16K; ++i) {
            const int64_t at = bf16_tokens_at(k, t / kBf16Tokens, i / kBf16K, parts);
            const auto part = [&](int64_t p) {
              return widened(
                  tiles[static_cast<size_t>(at + p)].of[i % kBf16K / 2][t % kBf16Tokens][i % 2]);
            };
            const float high = part(0), low = both ? part(1) : 0.0f;
            if (t >= tokens || i >= k) {
              EXPECT_EQ(high, 0.0f);
              EXPECT_EQ(low, 0.0f);
            } else {
              check_element(x[static_cast<size_t>(t * stride + i)], high, low, both);
            }
          }
        }
      }
    }
  }
}

TEST(Bf16Tokens, NarrowTilesHoldTheSame) {
  if (!has_isa(Isa::kAmx)) GTEST_SKIP() << "no AMX";
  {
    for (const Bf16Parts parts : {Bf16Parts::kHigh, Bf16Parts::kHighLow}) {
      for (const int64_t k : {1, 17, 32, 160, 1000}) {
        for (int64_t tokens = 1; tokens < kBf16Tokens; ++tokens) {
          const std::vector<float> x = some_floats(static_cast<size_t>(tokens * k));
          const auto tiles_needed = static_cast<size_t>(bf16_tokens_at(k, 1, 0, parts));
          std::vector<Bf16Tokens> tiles(tiles_needed);
          pack_bf16_tokens(x.data(), k, tokens, k, 0, parts, tiles.data());
          std::vector<uint16_t> narrow(tiles_needed * static_cast<size_t>(tokens) * kBf16K);
          pack_narrow_bf16_tokens(x.data(), k, tokens, k, parts, narrow.data());
          const uint16_t* next = narrow.data();
          int different = 0;
          for (const Bf16Tokens& tile : tiles) {
            for (const auto& row : tile.of) {
              for (int64_t t = 0; t < tokens; ++t, next += 2) {
                different += next[0] != row[t][0] || next[1] != row[t][1];
              }
            }
          }
          EXPECT_EQ(different, 0) << "k " << k << ", tokens " << tokens;
        }
      }
    }
  }
}

}  // namespace
}  // namespace realm::cpu::amx
#endif
