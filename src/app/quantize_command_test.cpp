#include "app/quantize_command.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "app/imatrix_command.h"
#include "formats/gguf.h"
#include "formats/imatrix.h"
#include "formats/quant/quant_table.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kColumns = 256, kRows = 4;

class QuantizeCommand : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ / name; }

  // A file of a llama's names; `spoil` changes the values of ffn_up.
  std::string source(const std::function<void(std::vector<float>&)>& spoil = {},
                     DType dtype = DType::kF32) {
    Metadata metadata;
    metadata.set_string("general.architecture", "llama");
    metadata.set_string("general.name", "a test");
    metadata.set_uint32("llama.block_count", 1);
    std::vector<float> matrix(kRows * kColumns), vector(kColumns, 1.0f);
    for (size_t i = 0; i < matrix.size(); ++i)
      matrix[i] = std::sin(static_cast<float>(i * i % 977));
    if (spoil) spoil(matrix);
    const BlockFormat& format = *find_block_format(dtype);
    std::vector<std::byte> bytes(row_bytes(format, kRows * kColumns));
    format.encode(matrix.data(), bytes.data(), kRows * kColumns, nullptr);
    std::vector<GgufTensorSource> tensors;
    const auto add = [&](const char* name, DType type, std::vector<int64_t> shape,
                         std::span<const std::byte> data) {
      tensors.push_back(
          {name, type, std::move(shape), [data](const auto& sink) { return sink(data); }});
    };
    add("token_embd.weight", dtype, {kRows, kColumns}, bytes);
    add("blk.0.attn_norm.weight", DType::kF32, {kColumns}, std::as_bytes(std::span(vector)));
    add("blk.0.ffn_up.weight", dtype, {kRows, kColumns}, bytes);
    EXPECT_TRUE(write_gguf(path("in.gguf"), metadata, tensors).ok());
    return path("in.gguf");
  }

  void refused(const QuantizeOptions& options, ErrorCode code, const char* says) {
    const auto report = quantize_model(options);
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.error().code, code) << report.error().message;
    EXPECT_NE(report.error().message.find(says), std::string::npos) << report.error().message;
    EXPECT_FALSE(fs::exists(options.output));
  }

  const fs::path folder_ =
      fs::path(testing::TempDir()) / ("realm_quantize_test_" + std::to_string(::getpid()));
};

TEST_F(QuantizeCommand, FollowsTheMixAndKeepsTheRest) {
  const auto report = quantize_model(
      {.input = source(), .output = path("out.gguf"), .type = "Q4_K_M", .threads = 2});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->tensors, 3);
  EXPECT_LT(report->bytes_after, report->bytes_before / 3);
  const auto in = open_gguf(path("in.gguf")).value();
  const auto out = open_gguf(path("out.gguf")).value();
  EXPECT_EQ(out->metadata().get_string("general.name").value(), "a test");
  EXPECT_EQ(out->metadata().get_int("general.file_type", 0, 100).value(), 15);
  EXPECT_EQ(out->metadata().get_int("general.quantization_version", 0, 9).value(), 2);
  ASSERT_EQ(out->tensors().size(), 3u);
  EXPECT_EQ(out->tensors()[0].dtype, DType::kQ6_K);  // doubles as the output matrix
  EXPECT_EQ(out->tensors()[1].dtype, DType::kF32);
  EXPECT_EQ(out->tensors()[2].dtype, DType::kQ4_K);
  // The bytes are those of the encoder.
  std::vector<std::byte> expected(out->tensors()[2].data.size());
  const auto* values = reinterpret_cast<const float*>(in->tensors()[2].data.data());
  find_block_format(DType::kQ4_K)->encode(values, expected.data(), kRows * kColumns, nullptr);
  EXPECT_EQ(std::memcmp(expected.data(), out->tensors()[2].data.data(), expected.size()), 0);
}

TEST_F(QuantizeCommand, PureAndKeepOutput) {
  ASSERT_TRUE(quantize_model(
                  {.input = source(), .output = path("pure.gguf"), .type = "Q4_K_M", .pure = true})
                  .ok());
  EXPECT_EQ(open_gguf(path("pure.gguf")).value()->tensors()[0].dtype, DType::kQ4_K);
  ASSERT_TRUE(
      quantize_model(
          {.input = source(), .output = path("kept.gguf"), .type = "Q4_K_M", .keep_output = true})
          .ok());
  EXPECT_EQ(open_gguf(path("kept.gguf")).value()->tensors()[0].dtype, DType::kF32);
}

TEST_F(QuantizeCommand, RefusesAndLeavesNoFile) {
  const QuantizeOptions good{.input = source(), .output = path("out.gguf"), .type = "Q4_0"};
  const auto with = [&](auto change) {
    QuantizeOptions options = good;
    change(options);
    return options;
  };
  refused(with([](auto& o) { o.type = "Q4_K_N"; }), ErrorCode::kInvalidArgument, "Q4_K_M");
  refused(with([](auto& o) { o.type = "IQ2_XXS"; }), ErrorCode::kInvalidArgument, "--imatrix");
  refused(with([](auto& o) { o.input = "/nowhere.gguf"; }), ErrorCode::kNotFound, "/nowhere.gguf");
  refused(with([](auto& o) { o.imatrix_path = "/nowhere.im"; }), ErrorCode::kNotFound, "/nowhere");
  const std::atomic<bool> cancelled = true;
  refused(with([&](auto& o) { o.cancel = &cancelled; }), ErrorCode::kCancelled, "interrupted");
  std::ofstream(path("bad.gguf")) << "nonsense";
  refused(with([&](auto& o) { o.input = path("bad.gguf"); }), ErrorCode::kBadModel, "bad.gguf");
}

TEST_F(QuantizeCommand, WeightsThatAreNotFiniteAreNamed) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const std::string input = source([&](std::vector<float>& values) { values[700] = bad; });
    refused({.input = input, .output = path("out.gguf"), .type = "Q8_0"}, ErrorCode::kBadModel,
            "'token_embd.weight'");
  }
}

TEST_F(QuantizeCommand, CoarseSourcesNeedConsent) {
  const std::string coarse = source({}, DType::kQ4_0);
  refused({.input = coarse, .output = path("out.gguf"), .type = "Q5_0"},
          ErrorCode::kInvalidArgument, "--allow-requantize");
  EXPECT_TRUE(
      quantize_model(
          {.input = coarse, .output = path("out.gguf"), .type = "Q5_0", .allow_requantize = true})
          .ok());
  const std::string fine = source({}, DType::kQ8_0);
  EXPECT_TRUE(quantize_model({.input = fine, .output = path("out.gguf"), .type = "Q4_0"}).ok());
}

TEST_F(QuantizeCommand, ImportanceMatrixIsUsedAndChecked) {
  const std::string input = source();
  ImportanceMatrix matrix;
  for (const char* name : {"token_embd.weight", "blk.0.ffn_up.weight"}) {
    ImportanceEntry& entry = matrix.entries[name];
    entry.sums.assign(kColumns, 1.0f);
    entry.sums[7] = 1e6f;
    entry.counts = {1};
  }
  matrix.datasets = {"calibration.txt"};
  ASSERT_TRUE(write_imatrix(path("m.imatrix"), matrix).ok());
  const QuantizeOptions options{.input = input,
                                .output = path("out.gguf"),
                                .type = "Q2_K",
                                .imatrix_path = path("m.imatrix")};
  const auto error_at_7 = [&](const QuantizeOptions& run) {
    const auto report = quantize_model(run);
    EXPECT_TRUE(report.ok()) << report.error().message;
    const auto in = open_gguf(input).value(), out = open_gguf(path("out.gguf")).value();
    const TensorInfo& tensor = *out->find("blk.0.ffn_up.weight");
    std::vector<float> decoded(kRows * kColumns);
    find_block_format(tensor.dtype)->decode(tensor.data.data(), decoded.data(), kRows * kColumns);
    const auto* values =
        reinterpret_cast<const float*>(in->find("blk.0.ffn_up.weight")->data.data());
    double error = 0;
    for (int64_t r = 0; r < kRows; ++r) {
      error += std::fabs(decoded[static_cast<size_t>(r * kColumns + 7)] - values[r * kColumns + 7]);
    }
    return error;
  };
  const double with = error_at_7(options);
  EXPECT_EQ(open_gguf(path("out.gguf"))
                .value()
                ->metadata()
                .get_string("quantize.imatrix.dataset")
                .value(),
            "calibration.txt");
  QuantizeOptions plain = options;
  plain.imatrix_path = "";
  EXPECT_LT(with, error_at_7(plain));

  fs::remove(path("out.gguf"));
  matrix.entries["blk.0.ffn_up.weight"].sums.resize(32);
  ASSERT_TRUE(write_imatrix(path("m.imatrix"), matrix).ok());
  refused(options, ErrorCode::kInvalidArgument, "imatrix is of another model");
  matrix.entries.erase("blk.0.ffn_up.weight");
  ASSERT_TRUE(write_imatrix(path("m.imatrix"), matrix).ok());
  QuantizeOptions needs = options;
  needs.type = "IQ2_XXS";
  refused(needs, ErrorCode::kInvalidArgument, "blk.0.ffn_up.weight");
}

TEST_F(QuantizeCommand, AMatrixOfTheEmbeddedModelFitsIt) {
  std::string text;
  for (int i = 0; i < 12; ++i) text += "The little fox lived in the wood with his mother. ";
  std::ofstream(path("text.txt")) << text;
  const auto report = make_imatrix(
      {.model = {.context = 32}, .text_path = path("text.txt"), .output = path("m.imatrix")});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->entries, 8 * 7);
  const auto matrix = read_imatrix(path("m.imatrix"));
  ASSERT_TRUE(matrix.ok()) << matrix.error().message;
  EXPECT_EQ(matrix->chunk_size, 32u);
  EXPECT_EQ(matrix->chunk_count, static_cast<uint32_t>(report->windows));
  const auto& q = matrix->entries.at("blk.0.attn_q.weight");
  const auto& k = matrix->entries.at("blk.0.attn_k.weight");
  EXPECT_EQ(q.sums.size(), 512u);
  EXPECT_EQ(q.sums, k.sums);  // they share their inputs
  EXPECT_EQ(q.counts, (std::vector<float>{static_cast<float>(report->tokens)}));
  EXPECT_EQ(matrix->entries.at("blk.7.ffn_down.weight").sums.size(), 1536u);
  for (const float sum : q.sums) EXPECT_GT(sum, 0);
}

}  // namespace
}  // namespace realm
