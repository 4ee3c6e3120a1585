#include "app/perplexity_command.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "app/feed.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

class PerplexityCommand : public testing::Test {
 protected:
  void TearDown() override { fs::remove(path_); }
  Result<PerplexityReport> measure(const std::string& text, PerplexityOptions options) {
    std::ofstream(path_, std::ios::binary) << text;
    options.text_path = path_;
    return measure_perplexity(options);
  }
  const std::string path_ =
      testing::TempDir() + "realm_perplexity_test_" + std::to_string(::getpid()) + ".txt";
};

// The definition, straight: each token of a window's second half given what precedes it.
double by_definition(const std::string& text, int64_t window) {
  const LoadedModel loaded = load_for_running({.kv_type = "f32"}).value();
  const auto tokens = loaded.tokenizer->encode(text).value();
  auto engine = loaded.make_engine({.context = window, .max_logit_rows = window}).value();
  double loss = 0;
  int64_t count = 0;
  for (size_t w = 0; w + static_cast<size_t>(window) <= tokens.size();
       w += static_cast<size_t>(window)) {
    Sequence sequence(engine->pages());
    const auto piece = std::span(tokens).subspan(w, static_cast<size_t>(window));
    const auto score = [&](int64_t first, const StepLogits& logits) -> Status {
      for (int64_t r = 0; r < logits.rows; ++r) {
        const int64_t position = first + r;
        if (position < window / 2 || position + 1 >= window) continue;
        double total = 0;
        for (const float value : logits.row(r)) total += std::exp(double{value});
        const Token next = piece[static_cast<size_t>(position) + 1];
        loss += std::log(total) - double{logits.row(r)[static_cast<size_t>(next)]};
        ++count;
      }
      return {};
    };
    EXPECT_TRUE(feed(*engine, sequence, piece, window, score).ok());
  }
  return std::exp(loss / static_cast<double>(count));
}

TEST_F(PerplexityCommand, IsTheDefinition) {
  std::string text;
  for (int i = 0; i < 4; ++i) {
    text += "Once upon a time there was a little fox who lived in the wood with his mother. ";
  }
  int calls = 0;
  const auto report = measure(text, {.model = {.context = 32, .kv_type = "f32"},
                                     .on_progress = [&](const PerplexityProgress& progress) {
                                       EXPECT_EQ(progress.windows_done, ++calls);
                                     }});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_GE(report->windows, 2);
  EXPECT_EQ(calls, report->windows);
  EXPECT_EQ(report->tokens_scored, report->windows * 15);
  EXPECT_NEAR(report->perplexity / by_definition(text, 32), 1.0, 1e-5);
  EXPECT_GT(report->standard_error, 0);
  EXPECT_LT(report->standard_error, report->perplexity);
  EXPECT_NE(report->json().find("\"perplexity\": "), std::string::npos);
}

TEST_F(PerplexityCommand, SpecialTokensAreTextUnlessAskedFor) {
  std::string text;
  for (int i = 0; i < 3; ++i) {
    text +=
        "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n2 + 2 = 4.<|im_end|>\n";
  }
  const auto plain = measure(text, {.model = {.context = 32}});
  const auto parsed = measure(text, {.model = {.context = 32}, .parse_special = true});
  ASSERT_TRUE(plain.ok() && parsed.ok());
  EXPECT_LT(parsed->tokens, plain->tokens);
  EXPECT_LT(parsed->perplexity, plain->perplexity);
}

TEST_F(PerplexityCommand, RefusesWhatCannotBeMeasured) {
  const auto code = [&](const std::string& text, PerplexityOptions options) {
    const auto report = measure(text, std::move(options));
    EXPECT_FALSE(report.ok());
    return report.ok() ? ErrorCode::kIo : report.error().code;
  };
  EXPECT_EQ(code("short", {}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code("", {}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code("text", {.model = {.context = 3}}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code("caf\xe9", {}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(measure_perplexity({.text_path = "/nowhere.txt"}).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace realm
