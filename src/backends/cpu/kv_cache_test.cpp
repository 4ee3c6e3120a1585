// Rows stored as Q8_0: every instruction set writes the bytes of the format table's encoder.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "backends/cpu/cpu_backend.h"

namespace realm::cpu {
namespace {

std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> kernels = {scalar_kernels()};
#if defined(__x86_64__)
  if (has_isa(Isa::kAvx2)) kernels.push_back(avx2_kernels());
  if (has_isa(Isa::kAvx512)) kernels.push_back(avx512_kernels());
#elif defined(__aarch64__)
  if (has_isa(Isa::kNeon)) kernels.push_back(neon_kernels());
#endif
  return kernels;
}

void expect_encoder_bytes(const std::vector<float>& x) {
  const BlockFormat& format = *find_block_format(DType::kQ8_0);
  const auto n = static_cast<int64_t>(x.size());
  std::vector<uint8_t> expected(row_bytes(format, n));
  format.encode(x.data(), expected.data(), n, nullptr);
  for (const Kernels* kernels : all_kernels()) {
    std::vector<uint8_t> got(expected.size() + 1, 0xa5);
    kernels->to_q8_0(x.data(), got.data(), n);
    EXPECT_EQ(got.back(), 0xa5);
    got.pop_back();
    EXPECT_EQ(got, expected);
  }
}

TEST(StoreQ8_0, RandomRowsOfManyMagnitudes) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (int exponent = -40; exponent <= 30; ++exponent) {
    std::vector<float> x(256);
    for (float& v : x) v = std::ldexp(normal(random), exponent);
    expect_encoder_bytes(x);
  }
}

TEST(StoreQ8_0, TiesZerosAndExtremes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> x(32 * 8, 0.0f);
  for (size_t i = 0; i < 32; ++i) {
    x[32 + i] = static_cast<float>(i) * 0.5f - 8.0f;             // scale not a power of two
    x[64 + i] = i == 0 ? 127.0f : static_cast<float>(i) + 0.5f;  // ties at scale 1
    x[96 + i] = i % 2 == 0 ? -0.0f : 0.0f;
    x[128 + i] = i == 7 ? -1e-40f : 0.0f;                 // the scale would vanish
    x[160 + i] = i == 3 ? 3e38f : static_cast<float>(i);  // the scale would overflow
    x[192 + i] = i == 5 ? -kInfinity : 1.0f;
    x[224 + i] = i == 31 ? -127.0f : -static_cast<float>(i) - 0.5f;
  }
  expect_encoder_bytes(x);
}

TEST(StoreQ8_0, NotANumber) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> x(96, kNan);
  for (size_t i = 0; i < 32; ++i) x[i] = i % 3 == 0 ? kNan : static_cast<float>(i) - 16.0f;
  for (size_t i = 64; i < 96; ++i) x[i] = i == 95 ? kNan : 0.0f;
  expect_encoder_bytes(x);
}

}  // namespace
}  // namespace realm::cpu
