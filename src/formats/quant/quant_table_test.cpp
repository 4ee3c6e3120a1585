#include "formats/quant/quant_table.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "formats/quant/golden_blocks.h"

namespace realm {
namespace {

TEST(QuantTable, FindsByTypeAndName) {
  ASSERT_EQ(block_formats().size(), 30u);
  for (const BlockFormat& format : block_formats()) {
    EXPECT_EQ(find_block_format(format.type), &format);
    EXPECT_EQ(find_block_format(std::string_view(format.name)), &format);
    EXPECT_NE(format.decode, nullptr) << format.name;
  }
  EXPECT_EQ(find_block_format(std::string_view("q4_k"))->type, DType::kQ4_K);
  EXPECT_EQ(find_block_format(std::string_view("Q4_k")), find_block_format(DType::kQ4_K));
  EXPECT_EQ(find_block_format(std::string_view("")), nullptr);
  EXPECT_EQ(find_block_format(std::string_view("Q4_")), nullptr);
  EXPECT_EQ(find_block_format(std::string_view("Q4_K_M")), nullptr);
  EXPECT_EQ(find_block_format(DType::kI32), nullptr);
  for (const uint32_t retired : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u, 43u, 0xffffffffu}) {
    EXPECT_EQ(find_block_format(static_cast<DType>(retired)), nullptr) << retired;
  }
}

TEST(QuantTable, ShapesAreConsistent) {
  for (const BlockFormat& format : block_formats()) {
    const UnpackShape& shape = format.shape;
    if (format.unpack == nullptr) {
      EXPECT_EQ(format.block_elements, 1) << format.name;
      EXPECT_EQ(shape.elements, 0) << format.name;
      continue;
    }
    EXPECT_EQ(shape.elements, format.block_elements) << format.name;
    EXPECT_EQ(shape.elements % shape.sub_block, 0) << format.name;
    EXPECT_LE(shape.num_scales(), 16) << format.name;
    EXPECT_EQ(shape.num_scales() % shape.num_d, 0) << format.name;
  }
}

TEST(QuantTable, DecodesGoldenBlocks) {
  if (!golden::available()) GTEST_SKIP() << "no folder " << golden::folder();
  const std::vector<golden::Row> rows = golden::index();
  ASSERT_EQ(rows.size(), 29u);
  for (const golden::Row& row : rows) {
    const BlockFormat* format = find_block_format(static_cast<DType>(row.type_id));
    ASSERT_NE(format, nullptr) << row.name;
    EXPECT_EQ(find_block_format(std::string_view(format->name)), format);
    EXPECT_EQ(format->block_elements, row.block_elements) << row.name;
    EXPECT_EQ(format->block_bytes, row.block_bytes) << row.name;
    EXPECT_EQ(row_bytes(*format, golden::kRowElements), static_cast<size_t>(row.row_bytes));

    const std::string blocks = golden::read_bytes(row.name + ".blocks");
    const std::vector<float> expected = golden::read_floats(row.name + ".f32");
    ASSERT_EQ(expected.size(), static_cast<size_t>(golden::kRows * golden::kRowElements));
    ASSERT_EQ(blocks.size(), static_cast<size_t>(golden::kRows * row.row_bytes));
    std::vector<float> decoded(expected.size(), NAN);
    format->decode(blocks.data(), decoded.data(), static_cast<int64_t>(decoded.size()));
    int different = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      different += std::bit_cast<uint32_t>(decoded[i]) != std::bit_cast<uint32_t>(expected[i]);
    }
    EXPECT_EQ(different, 0) << row.name;
  }
}

// The formula of unpacked.h, applied literally to every golden block, gives what decode gives.
TEST(QuantTable, UnpackReproducesDecode) {
  if (!golden::available()) GTEST_SKIP() << "no folder " << golden::folder();
  for (const golden::Row& row : golden::index()) {
    const BlockFormat* format = find_block_format(static_cast<DType>(row.type_id));
    ASSERT_NE(format, nullptr) << row.name;
    if (format->unpack == nullptr) continue;
    const std::string blocks = golden::read_bytes(row.name + ".blocks");
    const std::vector<float> expected = golden::read_floats(row.name + ".f32");
    const UnpackShape shape = format->shape;
    int different = 0;
    for (size_t b = 0; b < blocks.size() / static_cast<size_t>(format->block_bytes); ++b) {
      UnpackedBlock block;
      format->unpack(blocks.data() + b * static_cast<size_t>(format->block_bytes), block);
      for (int i = 0; i < shape.elements; ++i) {
        const float d = block.d[i / (shape.elements / shape.num_d)];
        const int sub = i / shape.sub_block;
        float value =
            d * static_cast<float>(block.scales[sub]) * static_cast<float>(block.codes[i]);
        if (shape.has_min) value -= block.dmin * static_cast<float>(block.mins[sub]);
        different +=
            value != expected[b * static_cast<size_t>(shape.elements) + static_cast<size_t>(i)];
      }
    }
    EXPECT_EQ(different, 0) << row.name;
  }
}

// Blocks of a row cut from a file start at any address.
TEST(QuantTable, DecodesUnalignedRows) {
  for (const BlockFormat& format : block_formats()) {
    const size_t bytes = static_cast<size_t>(format.block_bytes) * 2;
    std::vector<unsigned char> aligned(bytes), shifted(bytes + 1);
    for (size_t i = 0; i < bytes; ++i) aligned[i] = static_cast<unsigned char>(i * 37 + 11);
    std::memcpy(shifted.data() + 1, aligned.data(), bytes);
    std::vector<float> a(static_cast<size_t>(format.block_elements) * 2), b(a.size());
    format.decode(aligned.data(), a.data(), static_cast<int64_t>(a.size()));
    format.decode(shifted.data() + 1, b.data(), static_cast<int64_t>(b.size()));
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << format.name;
  }
}

}  // namespace
}  // namespace realm
