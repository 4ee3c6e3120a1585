#include "app/logits_command.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "app/token_list.h"
#include "base/file.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

const std::vector<Token> kTokens = {1, 361, 208, 627, 1391, 414, 460, 423, 299, 657, 94};

class LogitsCommand : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  std::vector<float> run(LogitsOptions options) {
    options.output = folder_ / "out.f32";
    options.model.kv_type = "f32";
    const Status status = write_logits(options);
    EXPECT_TRUE(status.ok()) << status.error().message;
    std::vector<float> values;
    if (!status.ok()) return values;
    const std::string raw = read_text_file(options.output, size_t{64} << 20).value();
    values.resize(raw.size() / sizeof(float));
    std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }
  void refused(LogitsOptions options, ErrorCode code) {
    options.output = folder_ / "out.f32";
    const Status status = write_logits(options);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, code) << status.error().message;
    EXPECT_TRUE(fs::is_empty(folder_));
  }

  const fs::path folder_ =
      fs::path(testing::TempDir()) / ("realm_logits_command_test_" + std::to_string(::getpid()));
};

TEST_F(LogitsCommand, SameBytesForAnyChunkAndThreads) {
  const auto whole = run({.model = {.threads = 1}, .tokens = kTokens});
  ASSERT_EQ(whole.size(), kTokens.size() * 8192);
  for (const float value : whole) ASSERT_TRUE(std::isfinite(value));
  EXPECT_EQ(run({.model = {.threads = 2}, .tokens = kTokens, .chunk = 1}), whole);
  EXPECT_EQ(run({.model = {.threads = 2}, .tokens = kTokens, .chunk = 7}), whole);
  EXPECT_EQ(run({.model = {.context = 11}, .tokens = kTokens, .chunk = 1000}), whole);
}

TEST_F(LogitsCommand, RefusesWhatItCannotDoAndLeavesNoFile) {
  refused({.tokens = {}}, ErrorCode::kInvalidArgument);
  refused({.tokens = {8192}}, ErrorCode::kInvalidArgument);
  refused({.tokens = {-1}}, ErrorCode::kInvalidArgument);
  refused({.model = {.context = 3}, .tokens = kTokens}, ErrorCode::kInvalidArgument);
  const std::atomic<bool> cancelled = true;
  refused({.tokens = kTokens, .cancel = &cancelled}, ErrorCode::kCancelled);
}

TEST_F(LogitsCommand, MeetsTransformersOnGoldenModels) {
  for (const char* name : {"llama-spm", "llama3-rope", "qwen3"}) {
    const fs::path golden = fs::path(REALM_SHARED_DIR) / "golden" / name;
    if (!fs::exists(golden)) GTEST_SKIP() << "no reference data in " << REALM_SHARED_DIR;
    const std::string json = read_text_file(golden / "golden.json", 1 << 20).value();
    const size_t open = json.find('[', json.find("\"tokens\""));
    const auto tokens = parse_token_list(
        std::string_view(json).substr(open + 1, json.find(']', open) - open - 1), "");
    ASSERT_TRUE(tokens.ok()) << tokens.error().message;
    const auto ours = run({.model = {.path = golden / "model.gguf"}, .tokens = *tokens});
    const std::string raw = read_text_file(golden / "logits.f32", size_t{64} << 20).value();
    ASSERT_EQ(ours.size() * sizeof(float), raw.size());
    double difference = 0, reference = 0;
    for (size_t i = 0; i < ours.size(); ++i) {
      float theirs;
      std::memcpy(&theirs, raw.data() + i * sizeof(float), sizeof theirs);
      difference += std::pow(double{ours[i]} - theirs, 2);
      reference += std::pow(double{theirs}, 2);
    }
    EXPECT_LT(std::sqrt(difference / reference), 1e-3) << name;
  }
}

TEST(TokenList, ReadsIdsAndRefusesTheRest) {
  EXPECT_EQ(parse_token_list("1,2, 30 ", "--tokens").value(), (std::vector<Token>{1, 2, 30}));
  for (const char* text : {"", "1,,2", "one", "1.5", "-1", "2147483648", "1,", "1 2"}) {
    const auto tokens = parse_token_list(text, "--tokens");
    ASSERT_FALSE(tokens.ok()) << text;
    EXPECT_EQ(tokens.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(tokens.error().message.find("--tokens"), 0u);
  }
}

TEST(TokenList, FilesHoldAJsonList) {
  const std::string path =
      testing::TempDir() + "realm_token_list_test_" + std::to_string(::getpid()) + ".json";
  const auto read = [&](const std::string& content) {
    std::ofstream(path) << content;
    auto tokens = read_token_file(path);
    fs::remove(path);
    return tokens;
  };
  EXPECT_EQ(read("[3, 0, 17]").value(), (std::vector<Token>{3, 0, 17}));
  for (const std::string& content :
       {std::string(), std::string("{"), std::string("[]"), std::string("[1.5]"),
        std::string("[-1]"), std::string("[[1]]"), std::string("[\"a\"]"),
        std::string(100000, '[')}) {
    const auto tokens = read(content);
    ASSERT_FALSE(tokens.ok()) << content.substr(0, 10);
    EXPECT_EQ(tokens.error().code, ErrorCode::kInvalidArgument) << tokens.error().message;
    EXPECT_NE(tokens.error().message.find("realm_token_list_test"), std::string::npos);
  }
  EXPECT_EQ(read_token_file("/nowhere/ids.json").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace realm
