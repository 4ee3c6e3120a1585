#include "app/inspect.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <filesystem>

#include "formats/gguf.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

struct TemporaryFile {
  fs::path path =
      fs::temp_directory_path() / ("realm-inspect-" + std::to_string(::getpid()) + ".gguf");
  ~TemporaryFile() { fs::remove(path); }
};

void write_model(const fs::path& path) {
  Metadata m;
  m.set_string("general.architecture", "llama");
  m.set_string("general.name", "bad \xff byte\nand a line");
  m.set_uint32("llama.block_count", 2);
  m.set_uint32("llama.context_length", 100);
  m.set_uint32("llama.embedding_length", 64);
  m.set_uint32("llama.attention.head_count", 4);
  m.set_uint32("llama.attention.head_count_kv", 2);
  m.set_strings("tokenizer.ggml.tokens", std::vector<std::string>(100, "t"));
  const std::vector<std::byte> bytes(64 * 4);
  const auto produce = [&](const auto& sink) { return sink(bytes); };
  ASSERT_TRUE(write_gguf(path, m,
                         {{"a.weight", DType::kF32, {4, 16}, produce},
                          {"b.weight", DType::kF16, {2, 64}, produce}})
                  .ok());
}

TEST(Inspect, Json) {
  TemporaryFile file;
  write_model(file.path);
  InspectOptions options;
  options.model = file.path;
  options.json = true;
  options.tensors = true;
  const auto report = inspect_model(options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const boost::json::value root = boost::json::parse(*report);
  EXPECT_EQ(root.at("parameters").as_int64(), 192);
  EXPECT_EQ(root.at("bytes").as_int64(), 512);
  EXPECT_EQ(root.at("metadata").at("general.name").as_string(),
            "bad \xef\xbf\xbd byte\nand a line");
  EXPECT_EQ(root.at("metadata").at("tokenizer.ggml.tokens").at("length").as_int64(), 100);
  EXPECT_EQ(root.at("memory").at("context").as_int64(), 100);
  // 2 layers, 2 heads, 16 + 16 values of 2 bytes, 100 tokens.
  EXPECT_EQ(root.at("memory").at("kv_bytes").as_int64(), 2 * 2 * 32 * 2 * 100);
  EXPECT_EQ(root.at("tensors").as_array().size(), 2u);
  EXPECT_EQ(root.at("types").at(0).at("share").as_double(), 0.5);
}

TEST(Inspect, Text) {
  TemporaryFile file;
  write_model(file.path);
  InspectOptions options;
  options.model = file.path;
  options.context = 1000;
  options.kv_type = "f32";
  const auto report = inspect_model(options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const char* part :
       {"192 parameters in 2 tensors, 512 B", "bad \xef\xbf\xbd byte\\nand a line", "100 in all",
        "memory at a context of 1000", "KV cache 500.00 KiB (f32)"}) {
    EXPECT_NE(report->find(part), std::string::npos) << part << "\n" << *report;
  }
  options.kv_type = "f8";
  EXPECT_EQ(inspect_model(options).error().code, ErrorCode::kInvalidArgument);
  options.model = "/nonexistent.gguf";
  EXPECT_EQ(inspect_model(options).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace realm
