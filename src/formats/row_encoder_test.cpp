#include "formats/row_encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"

namespace realm {
namespace {

std::vector<std::byte> bytes_of(std::span<const float> values) {
  const auto bytes = std::as_bytes(values);
  return {bytes.begin(), bytes.end()};
}

TEST(RowEncoder, ConvertsAcrossPieces) {
  std::vector<float> values(3 * 64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 8;
  const std::vector<std::byte> all = bytes_of(values);
  // Boundaries inside rows and inside numbers.
  const std::span<const std::byte> whole = all;
  const std::vector<std::span<const std::byte>> pieces = {
      whole.first(5), whole.subspan(5, 0), whole.subspan(5, 300), whole.subspan(305)};
  std::vector<std::byte> out;
  const Status status =
      encode_rows(pieces, *find_block_format(DType::kF32), *find_block_format(DType::kF16), 64,
                  [&](std::span<const std::byte> chunk) {
                    out.insert(out.end(), chunk.begin(), chunk.end());
                    return Status();
                  });
  ASSERT_TRUE(status.ok());
  ASSERT_EQ(out.size(), values.size() * 2);
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half;
    std::memcpy(&half, out.data() + 2 * i, 2);
    EXPECT_EQ(half, float_to_fp16(values[i]));
  }
}

TEST(RowEncoder, RefusesWeightsThatAreNotFinite) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (const DType to : {DType::kF32, DType::kQ8_0}) {
      std::vector<float> values(64, 1.0f);
      values[63] = bad;
      const std::vector<std::byte> bytes = bytes_of(values);
      const std::span<const std::byte> piece = bytes;
      const Status status = encode_rows({&piece, 1}, *find_block_format(DType::kF32),
                                        *find_block_format(to), 32, [](auto) { return Status(); });
      ASSERT_FALSE(status.ok());
      EXPECT_EQ(status.error().code, ErrorCode::kBadModel);
    }
  }
}

TEST(RowEncoder, RefusesWeightsTooLargeForF16) {
  std::vector<float> values(64, 1.0f);
  values[5] = 70000.0f;
  const std::vector<std::byte> bytes = bytes_of(values);
  const std::span<const std::byte> piece = bytes;
  const auto encode = [&](DType to) {
    return encode_rows({&piece, 1}, *find_block_format(DType::kF32), *find_block_format(to), 32,
                       [](auto) { return Status(); });
  };
  ASSERT_FALSE(encode(DType::kF16).ok());
  EXPECT_EQ(encode(DType::kF16).error().code, ErrorCode::kBadModel);
  EXPECT_TRUE(encode(DType::kBF16).ok());
}

TEST(RowEncoder, ImportanceReachesTheEncoder) {
  std::vector<float> values(256);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i * i));
  std::vector<float> importance(256, 1e-3f);
  importance[7] = 1000.0f;
  const std::vector<std::byte> bytes = bytes_of(values);
  const std::span<const std::byte> piece = bytes;
  const BlockFormat& to = *find_block_format(DType::kQ2_K);
  const auto error_at_7 = [&](const RowEncoding& encoding) {
    std::vector<float> decoded(256);
    EXPECT_TRUE(encode_rows(
                    {&piece, 1}, *find_block_format(DType::kF32), to, 256,
                    [&](std::span<const std::byte> chunk) {
                      to.decode(chunk.data(), decoded.data(), 256);
                      return Status();
                    },
                    encoding)
                    .ok());
    return std::fabs(decoded[7] - values[7]);
  };
  EXPECT_LT(error_at_7({.importance = importance, .threads = 1}), error_at_7({}));
}

TEST(RowEncoder, PassesTheSinksErrorOn) {
  const std::vector<std::byte> bytes(128);
  const std::span<const std::byte> piece = bytes;
  const Status status = encode_rows({&piece, 1}, *find_block_format(DType::kF32),
                                    *find_block_format(DType::kF32), 32, [](auto) -> Status {
                                      return Error{ErrorCode::kExhausted, "disk full"};
                                    });
  EXPECT_EQ(status.error().code, ErrorCode::kExhausted);
}

}  // namespace
}  // namespace realm
