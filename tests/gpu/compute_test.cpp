// Products in half precision and in FP8 (cuda::Compute) against those in bfloat16.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "backends/cuda/cuda_backend.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

using cuda::Compute;

std::vector<float> random_floats(int64_t count, float scale, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

struct Shape {
  int64_t rows = 300, columns = 1280, tokens = 200;
};

// Rows of all sizes: the first a thousand times the last.
std::vector<std::byte> random_weight(DType type, const Shape& shape) {
  std::vector<float> values = random_floats(shape.rows * shape.columns, 0.03f, 11);
  for (int64_t i = 0; i < shape.rows * shape.columns; ++i) {
    const auto row = static_cast<float>(i / shape.columns) / static_cast<float>(shape.rows);
    values[static_cast<size_t>(i)] *= std::pow(10.0f, -3.0f * row);
  }
  const BlockFormat& format = *find_block_format(type);
  std::vector<std::byte> bytes(row_bytes(format, shape.columns) * static_cast<size_t>(shape.rows));
  format.encode(values.data(), bytes.data(), shape.rows * shape.columns, nullptr);
  return bytes;
}

// Two parts: the weight, and rows 16 and up of it.
Result<std::vector<float>> product_in(Compute compute, DType type, const Shape& shape,
                                      const std::vector<float>& x) {
  auto gpu = TRY(cuda::CudaBackend::create({.compute = compute}));
  std::vector<std::byte> bytes = random_weight(type, shape);
  const int64_t sliced = shape.rows - 16, outputs = shape.rows + sliced;
  const TensorView weight =
      TRY(gpu->import_weight(make_view(bytes.data(), type, {shape.rows, shape.columns})));
  const Buffer in = TRY(gpu->allocate(x.size() * 4));
  const Buffer out = TRY(gpu->allocate(static_cast<size_t>(shape.tokens * outputs) * 4));
  TRY(gpu->upload(in.data.get(), std::as_bytes(std::span(x))));
  MatMul op;
  op.x = make_view(in.data.get(), DType::kF32, {shape.tokens, shape.columns});
  op.num_parts = 2;
  op.parts[0] = {.weight = weight,
                 .bias = {},
                 .out = make_view(out.data.get(), DType::kF32, {shape.tokens, shape.rows})};
  TensorView slice = weight;
  slice.data += 16 * weight.stride[0];
  slice.shape[0] = sliced;
  op.parts[1] = {.weight = slice,
                 .bias = {},
                 .out = make_view(out.data.get() + shape.tokens * shape.rows * 4, DType::kF32,
                                  {shape.tokens, sliced})};
  const Op ops[] = {op};
  TRY(gpu->run(ops));
  std::vector<float> result(static_cast<size_t>(shape.tokens * outputs));
  TRY(gpu->download(std::as_writable_bytes(std::span(result)), out.data.get()));
  return result;
}

double relative_error(std::span<const float> actual, std::span<const float> expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(double{actual[i]} - double{expected[i]}, 2);
    size += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(difference / size);
}

// The last 100 rows alone: what is small must not vanish beside what is large.
double error_of_small_rows(const std::vector<float>& actual, const std::vector<float>& expected,
                           const Shape& shape) {
  std::vector<float> a, b;
  for (int64_t token = 0; token < shape.tokens; ++token) {
    for (int64_t row = shape.rows - 100; row < shape.rows; ++row) {
      a.push_back(actual[static_cast<size_t>(token * shape.rows + row)]);
      b.push_back(expected[static_cast<size_t>(token * shape.rows + row)]);
    }
  }
  return relative_error(a, b);
}

void compare(Compute compute, const Shape& shape, double limit) {
  const std::vector<float> x = random_floats(shape.tokens * shape.columns, 1.0f, 12);
  for (const DType type :
       {DType::kF16,    DType::kBF16,  DType::kQ4_0,  DType::kQ4_1,   DType::kQ5_0,
        DType::kQ5_1,   DType::kQ8_0,  DType::kQ2_K,  DType::kQ3_K,   DType::kQ4_K,
        DType::kQ5_K,   DType::kQ6_K,  DType::kTQ1_0, DType::kTQ2_0,  DType::kIQ4_NL,
        DType::kIQ4_XS, DType::kMXFP4, DType::kIQ1_S, DType::kIQ2_XS, DType::kIQ3_S}) {
    SCOPED_TRACE(std::string(find_block_format(type)->name) + ", " + std::to_string(shape.tokens));
    const auto expected = product_in(Compute::kBf16, type, shape, x);
    ASSERT_TRUE(expected.ok()) << expected.error().message;
    const auto actual = product_in(compute, type, shape, x);
    ASSERT_TRUE(actual.ok()) << actual.error().message;
    EXPECT_LT(relative_error(*actual, *expected), limit);
    EXPECT_LT(error_of_small_rows(*actual, *expected, shape), limit);
  }
}

TEST(GpuCompute, HalfPrecisionIsNearBfloat16) {
  if (const auto info = cuda::probe_device(0); !info.ok()) GTEST_SKIP() << info.error().message;
  for (const int64_t tokens : {1, 7, 40, 200}) compare(Compute::kFp16, {.tokens = tokens}, 0.009);
}

TEST(GpuCompute, Fp8IsNearBfloat16) {
  const auto probed = cuda::CudaBackend::create({.compute = Compute::kFp8});
  if (!probed.ok()) GTEST_SKIP() << probed.error().message;
  // Three bits after the first: each operand is off by 2.5 % of its size on average, those of types
  // that have elements of one size only (ternary ones) by 3.6 %.
  for (const int64_t tokens : {150, 300}) compare(Compute::kFp8, {.tokens = tokens}, 0.06);
  // Of few tokens they are the same products.
  compare(Compute::kFp8, {.tokens = 5}, 1e-9);
}

TEST(GpuCompute, Fp8HasScalesForTokensAndKeepsZeros) {
  const auto probed = cuda::CudaBackend::create({.compute = Compute::kFp8});
  if (!probed.ok()) GTEST_SKIP() << probed.error().message;
  const Shape shape{.rows = 64, .columns = 512, .tokens = 160};
  std::vector<float> x = random_floats(shape.tokens * shape.columns, 1.0f, 13);
  for (int64_t i = 0; i < shape.columns; ++i) {
    x[static_cast<size_t>(i)] = 0.0f;                        // token 0
    x[static_cast<size_t>(shape.columns + i)] *= 1e6f;       // token 1
    x[static_cast<size_t>(2 * shape.columns + i)] *= 1e-6f;  // token 2
  }
  const auto expected = product_in(Compute::kBf16, DType::kQ8_0, shape, x);
  const auto actual = product_in(Compute::kFp8, DType::kQ8_0, shape, x);
  ASSERT_TRUE(expected.ok() && actual.ok());
  for (size_t token = 0; token < 4; ++token) {
    const auto rows = static_cast<size_t>(shape.rows);
    const std::span<const float> a(actual->data() + token * rows, rows);
    const std::span<const float> b(expected->data() + token * rows, rows);
    if (token == 0) {
      for (const float value : a) EXPECT_EQ(value, 0.0f);
    } else {
      EXPECT_LT(relative_error(a, b), 0.06) << token;
    }
  }
}

// What half precision cannot hold is cut to 65504, not infinite.
TEST(GpuCompute, HalfPrecisionCutsWhatItCannotHold) {
  if (const auto info = cuda::probe_device(0); !info.ok()) GTEST_SKIP() << info.error().message;
  for (const int64_t tokens : {2, 40}) {
    const Shape shape{.rows = 64, .columns = 512, .tokens = tokens};
    std::vector<float> x(static_cast<size_t>(shape.tokens * shape.columns), 0.0f), cut = x;
    x[3] = 1e9f;
    cut[3] = 65504.0f;
    const auto actual = product_in(Compute::kFp16, DType::kF16, shape, x);
    const auto expected = product_in(Compute::kFp16, DType::kF16, shape, cut);
    ASSERT_TRUE(expected.ok() && actual.ok());
    EXPECT_EQ(*actual, *expected);
    for (const float value : *actual) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST(GpuCompute, Fp8DoesNotGoWithBatchInvariance) {
  if (const auto info = cuda::probe_device(0); !info.ok()) GTEST_SKIP() << info.error().message;
  EXPECT_FALSE(cuda::CudaBackend::create({.compute = Compute::kFp8, .batch_invariant = true}).ok());
}

}  // namespace
}  // namespace realm
