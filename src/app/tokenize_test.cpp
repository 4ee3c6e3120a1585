#include "app/tokenize.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "base/file.h"
#include "text/test_vocabulary.h"

namespace realm {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

File temporary(std::string_view content = {}) {
  File file(std::tmpfile());
  EXPECT_NE(file, nullptr);
  // An empty view may have no address, which fwrite must not be given.
  if (!content.empty()) std::fwrite(content.data(), 1, content.size(), file.get());
  std::rewind(file.get());
  return file;
}

std::string content(std::FILE* file) {
  std::rewind(file);
  std::string out;
  for (int c; (c = std::fgetc(file)) != EOF;) out += static_cast<char>(c);
  return out;
}

class TokenizeCommand : public testing::Test {
 protected:
  void SetUp() override {
    Metadata metadata =
        test::bpe_metadata("llama-bpe", {"h e", "he y"}, {{"<|end|>", test::kControl}});
    metadata.set_uint32("tokenizer.ggml.bos_token_id", 258);
    auto created = Tokenizer::create(metadata);
    ASSERT_TRUE(created.ok());
    tokenizer_ = std::move(*created);
  }

  std::string tokenize(const TokenizeOptions& options, std::string_view input = {}) {
    const File in = temporary(input), out = temporary();
    const Status status = tokenize_command(*tokenizer_, options, in.get(), out.get());
    return status.ok() ? content(out.get()) : "error: " + status.error().message;
  }
  std::string detokenize(const DetokenizeOptions& options) {
    const File out = temporary();
    const Status status = detokenize_command(*tokenizer_, options, out.get());
    return status.ok() ? content(out.get()) : "error: " + status.error().message;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TokenizeCommand, WritesIds) {
  const std::string y = std::to_string(*tokenizer_->find("y"));
  EXPECT_EQ(tokenize({.text = "heyy"}), "258 257 " + y + "\n");
  EXPECT_EQ(tokenize({.text = "heyy", .add_bos_eos = false}), "257 " + y + "\n");
  EXPECT_EQ(tokenize({.text = "", .add_bos_eos = false}), "\n");
  EXPECT_EQ(tokenize({.text = "he<|end|>", .parse_special = true, .add_bos_eos = false}),
            "256 258\n");
  EXPECT_EQ(tokenize({.text = "hey", .json = true}),
            "{\"tokens\":[258,257],\"pieces\":[\"<|end|>\",\"hey\"]}\n");
  EXPECT_EQ(tokenize({.text = "\xff"}).rfind("error: the text is not valid UTF-8", 0), 0u);
}

TEST_F(TokenizeCommand, ReadsFilesAndStandardInputWhole) {
  EXPECT_EQ(tokenize({.add_bos_eos = false}, "hey"), "257\n");
  EXPECT_EQ(tokenize({.file = "-", .add_bos_eos = false}, "he"), "256\n");
  const std::string path = (std::filesystem::path(testing::TempDir()) /
                            ("realm_tokenize_test_" + std::to_string(::getpid()) + ".txt"))
                               .string();
  auto file = AtomicFile::create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->write("hey\n").ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(tokenize({.file = path, .add_bos_eos = false}),
            "257 " + std::to_string(*tokenizer_->find("Ċ")) + "\n");
  std::filesystem::remove(path);
  EXPECT_EQ(tokenize({.file = path}).rfind("error: ", 0), 0u);
  EXPECT_EQ(tokenize({.text = "a", .file = path}).rfind("error: give either", 0), 0u);
}

TEST_F(TokenizeCommand, WritesTextByteForByte) {
  EXPECT_EQ(detokenize({.tokens = {257, 256}}), "heyhe");
  EXPECT_EQ(detokenize({.tokens = {}}), "");
  EXPECT_EQ(detokenize({.tokens = {258, 0xc3}}), "<|end|>\xc3");
  EXPECT_EQ(detokenize({.tokens = {0xc3}, .json = true}), "{\"text\":\"\xef\xbf\xbd\"}\n");
  EXPECT_EQ(detokenize({.tokens = {259}}),
            "error: token id 259 is outside the vocabulary, which has ids 0 to 258");
  EXPECT_EQ(detokenize({.tokens = {-1}}).rfind("error: token id -1", 0), 0u);
  EXPECT_EQ(detokenize({.tokens = {int64_t{1} << 32}}).rfind("error: token id 4294967296", 0), 0u);
}

TEST_F(TokenizeCommand, ReportsAFullDisk) {
  const File full(std::fopen("/dev/full", "w"));
  if (full == nullptr) GTEST_SKIP() << "/dev/full is not here";
  const File in = temporary();
  const Status status = tokenize_command(*tokenizer_, {.text = "hey"}, in.get(), full.get());
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace realm
