#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <thread>

#include "formats/quant/golden_blocks.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

struct Loss {
  double error = 0.0;    // sum of w (decoded - source)^2
  double squares = 0.0;  // sum of w source^2
};

Loss loss_of(const float* source, const float* decoded, size_t n, const float* weights = nullptr) {
  Loss loss;
  for (size_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(source[i]);
    const double miss = static_cast<double>(decoded[i]) - x;
    const double w = weights == nullptr ? 1.0 : static_cast<double>(weights[i]);
    loss.error += w * miss * miss;
    loss.squares += w * x * x;
  }
  return loss;
}

std::vector<float> round_trip(const BlockFormat& format, const std::vector<float>& source,
                              const float* importance = nullptr) {
  const int64_t n = static_cast<int64_t>(source.size());
  std::vector<unsigned char> blocks(row_bytes(format, n), 0xa5);
  format.encode(source.data(), blocks.data(), n, importance);
  std::vector<float> decoded(source.size(), NAN);
  format.decode(blocks.data(), decoded.data(), n);
  return decoded;
}

std::vector<float> normal_row(size_t n, float sigma, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<float> row(n);
  for (float& x : row) {
    double sum = -6.0;  // twelve uniforms: near enough, and the same with every standard library
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(engine()) / 4294967296.0;
    x = sigma * static_cast<float>(sum);
  }
  return row;
}

TEST(QuantEncode, EveryFormatHasAnEncoder) {
  for (const BlockFormat& format : block_formats())
    EXPECT_NE(format.encode, nullptr) << format.name;
}

// No row of shared/quants' source loses more than a few percent more than with ggml's quantizer.
// The allowance beside that is what rounding a scale to fp16 costs a row that its codes fit
// exactly.
TEST(QuantEncode, ErrorNotAboveGolden) {
  if (!golden::available()) GTEST_SKIP() << "no folder " << golden::folder();
  const std::vector<float> source = golden::read_floats("source.f32");
  for (const golden::Row& row : golden::index()) {
    const BlockFormat* format = find_block_format(static_cast<DType>(row.type_id));
    ASSERT_NE(format, nullptr);
    const std::vector<float> golden_values = golden::read_floats(row.name + ".f32");
    for (size_t r = 0; r < golden::kRows; ++r) {
      const size_t first = r * golden::kRowElements;
      const std::vector<float> values(
          source.begin() + static_cast<ptrdiff_t>(first),
          source.begin() + static_cast<ptrdiff_t>(first) + golden::kRowElements);
      const Loss ours = loss_of(values.data(), round_trip(*format, values).data(), values.size());
      const Loss theirs = loss_of(values.data(), golden_values.data() + first, values.size());
      EXPECT_LE(ours.error, 1.03 * theirs.error + 0x1p-22 * theirs.squares)
          << row.name << " row " << r;
    }
  }
}

// Error of a normal row relative to its squares, measured when the encoders were written, plus 3 %:
// holds without shared/ and notices a search that got worse.
TEST(QuantEncode, RelativeErrorOfNormalRow) {
  const struct {
    const char* name;
    double bound;
  } kBounds[] = {
      {"F32", 0.0},        {"F16", 4.31e-08},   {"Q4_0", 0.00635},   {"Q4_1", 0.0048},
      {"Q5_0", 0.0016},    {"Q5_1", 0.00112},   {"Q8_0", 2.81e-05},  {"Q8_1", 2.81e-05},
      {"Q2_K", 0.0682},    {"Q3_K", 0.0208},    {"Q4_K", 0.00486},   {"Q5_K", 0.00117},
      {"Q6_K", 0.000295},  {"Q8_K", 4.24e-05},  {"IQ2_XXS", 0.112},  {"IQ2_XS", 0.0856},
      {"IQ3_XXS", 0.0323}, {"IQ1_S", 0.199},    {"IQ4_NL", 0.00534}, {"IQ3_S", 0.0164},
      {"IQ2_S", 0.058},    {"IQ4_XS", 0.00542}, {"IQ1_M", 0.17},     {"BF16", 2.88e-06},
      {"TQ1_0", 0.182},    {"TQ2_0", 0.182},    {"MXFP4", 0.0119},   {"NVFP4", 0.00822},
      {"Q1_0", 0.368},     {"Q2_0", 0.123},
  };
  EXPECT_EQ(std::size(kBounds), block_formats().size());
  const std::vector<float> row = normal_row(4096, 0.02f, 7);
  for (const auto& [name, bound] : kBounds) {
    const Loss loss = loss_of(
        row.data(), round_trip(*find_block_format(std::string_view(name)), row).data(), row.size());
    EXPECT_LE(loss.error / loss.squares, bound) << name;
  }
}

TEST(QuantEncode, ZeroStaysZero) {
  const std::vector<float> zeros(1024, 0.0f);
  for (const BlockFormat& format : block_formats()) {
    for (const float value : round_trip(format, zeros)) EXPECT_EQ(value, 0.0f) << format.name;
    // Not even importance that is zero everywhere changes that.
    for (const float value : round_trip(format, zeros, zeros.data())) {
      EXPECT_EQ(value, 0.0f) << format.name;
    }
  }
}

TEST(QuantEncode, AnyFiniteInputDecodesFinite) {
  std::vector<std::vector<float>> rows;
  for (const float scale :
       {1e-45f, 1e-38f, 1e-31f, 1e-20f, 1e-9f, 1.0f, 1e5f, 1e9f, 1e30f, 2e37f}) {
    rows.push_back(normal_row(512, scale, 11));
  }
  rows.push_back(std::vector<float>(512, 3.4e38f));
  rows.push_back(std::vector<float>(512, -1e-45f));
  rows.emplace_back(512, 0.0f);
  rows.back()[300] = 3e38f;  // one value against a block of zeros
  rows.push_back(normal_row(512, 1e-20f, 12));
  rows.back()[5] = -1e20f;
  rows.emplace_back(512, 1.0f);
  for (size_t i = 0; i < 512; i += 2) rows.back()[i] = -1.0f;
  std::vector<float> importance(512, 0.0f);
  for (size_t i = 0; i < 512; i += 7) importance[i] = static_cast<float>(i) * 1e6f;
  const std::vector<float> no_importance(512, 0.0f);
  for (const BlockFormat& format : block_formats()) {
    if (format.type == DType::kF16 || format.type == DType::kBF16)
      continue;  // overflow by definition
    for (size_t r = 0; r < rows.size(); ++r) {
      for (const float* weights :
           std::initializer_list<const float*>{nullptr, importance.data(), no_importance.data()}) {
        for (const float value : round_trip(format, rows[r], weights)) {
          ASSERT_TRUE(std::isfinite(value)) << format.name << " row " << r;
        }
      }
    }
  }
}

TEST(QuantEncode, ImportanceShiftsErrorAway) {
  const std::vector<float> row = normal_row(4096, 0.05f, 3);
  std::vector<float> importance(row.size());
  for (size_t i = 0; i < importance.size(); ++i) importance[i] = i % 4 == 0 ? 100.0f : 1.0f;
  for (const BlockFormat& format : block_formats()) {
    if (format.block_elements == 1) continue;
    const bool by_extreme =
        format.type == DType::kQ8_0 || format.type == DType::kQ8_1 || format.type == DType::kQ8_K;
    const Loss without =
        loss_of(row.data(), round_trip(format, row).data(), row.size(), importance.data());
    const Loss with = loss_of(row.data(), round_trip(format, row, importance.data()).data(),
                              row.size(), importance.data());
    if (by_extreme) {
      EXPECT_EQ(with.error, without.error) << format.name;
    } else {
      EXPECT_LT(with.error, without.error) << format.name;
    }
  }
}

TEST(QuantEncode, TernaryWeightsAreExact) {
  std::mt19937 engine(5);
  std::vector<float> row(1024);
  for (float& x : row) x = 0.375f * static_cast<float>(static_cast<int>(engine() % 3) - 1);
  for (const DType type : {DType::kTQ1_0, DType::kTQ2_0, DType::kQ2_0}) {
    const BlockFormat& format = *find_block_format(type);
    EXPECT_EQ(round_trip(format, row), row) << format.name;
  }
}

TEST(QuantEncode, SameFromSeveralThreads) {
  const std::vector<float> row = normal_row(512, 1.0f, 21);
  std::vector<float> importance = row;
  for (float& x : importance) x = std::fabs(x);
  for (const BlockFormat& format : block_formats()) {
    std::vector<std::vector<float>> results(3);
    {
      std::vector<std::jthread> threads;
      for (auto& result : results) {
        threads.emplace_back([&] { result = round_trip(format, row, importance.data()); });
      }
    }
    const std::vector<float> expected = round_trip(format, row, importance.data());
    for (const auto& result : results) EXPECT_EQ(result, expected) << format.name;
  }
}

// Any start address will do for the blocks.
TEST(QuantEncode, WritesUnaligned) {
  const std::vector<float> row = normal_row(512, 1.0f, 2);
  for (const BlockFormat& format : block_formats()) {
    const size_t bytes = row_bytes(format, 512);
    std::vector<unsigned char> aligned(bytes), shifted(bytes + 2, 0x5a);
    format.encode(row.data(), aligned.data(), 512, nullptr);
    format.encode(row.data(), shifted.data() + 1, 512, nullptr);
    EXPECT_EQ(std::memcmp(aligned.data(), shifted.data() + 1, bytes), 0) << format.name;
    EXPECT_EQ(shifted.front(), 0x5a) << format.name;
    EXPECT_EQ(shifted.back(), 0x5a) << format.name;
  }
}

}  // namespace
}  // namespace realm
