#include "app/model_loader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace realm {
namespace {

TEST(ModelLoader, AnEmptyPathIsTheEmbeddedModel) {
  auto loaded = load_for_running({.path = "", .threads = 1});
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->label, "realm-tiny (embedded)");
  EXPECT_EQ(loaded->threads, 1);
  EXPECT_EQ(loaded->model->info().vocab_size, 8192);
  EXPECT_EQ(loaded->description(), "llama Q8_0 28.3M");
  EXPECT_EQ(loaded->context, loaded->model->info().trained_context);
  ASSERT_NE(loaded->tokenizer, nullptr);
  auto engine = loaded->make_engine({.context = 64});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  EXPECT_EQ((*engine)->options().context, 64);
  EXPECT_EQ((*engine)->options().kv_type, DType::kF16);
}

TEST(ModelLoader, OptionsThatCannotBeHadAreNamed) {
  const auto refused = [](const ModelOptions& options, ErrorCode code, const char* word) {
    const auto loaded = load_for_running(options);
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().code, code) << loaded.error().message;
    EXPECT_NE(loaded.error().message.find(word), std::string::npos) << loaded.error().message;
  };
  refused({.path = "", .backend = "abacus"}, ErrorCode::kInvalidArgument, "'abacus'");
  refused({.path = "", .threads = 5000}, ErrorCode::kInvalidArgument, "threads");
  refused({.path = "", .cpu_isa = "mmx"}, ErrorCode::kInvalidArgument, "'mmx'");
  refused({.path = "", .kv_type = "q4_0"}, ErrorCode::kInvalidArgument, "'q4_0'");
  refused({.path = "", .compute = "int4"}, ErrorCode::kInvalidArgument, "'int4'");
  refused({.path = "", .backend = "cpu", .compute = "fp8"}, ErrorCode::kInvalidArgument,
          "--compute fp8");
  refused({.path = "", .lora = {"pirate=x.gguf"}}, ErrorCode::kUnsupported, "lora");
  refused({.path = "/nowhere/model.gguf"}, ErrorCode::kNotFound, "/nowhere/model.gguf");
}

// Kilobytes that this process has locked.
[[maybe_unused]] int64_t locked_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t value = 0;
    if (word == "VmLck:" && status >> value) return value;
  }
  return -1;
}

TEST(ModelLoader, WeightsAreReadOrLockedOnRequest) {
  const ModelOptions options{.path = REALM_SOURCE_DIR "/assets/realm-tiny.Q8_0.gguf",
                             .backend = "cpu",
                             .threads = 1,
                             .no_mmap = true,
                             .mlock = true};
  const auto loaded = load_for_running(options);
  if (loaded.ok()) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // there mlock does nothing
    EXPECT_GT(locked_kilobytes(), 28'000);
#endif
    EXPECT_EQ(loaded->description(), "llama Q8_0 28.3M");
  } else {  // a user whose limit is lower than that
    EXPECT_EQ(loaded.error().code, ErrorCode::kExhausted);
    EXPECT_NE(loaded.error().message.find("ulimit -l"), std::string::npos)
        << loaded.error().message;
  }
}

TEST(ModelLoader, AMisspeltFileNameGetsTheNearestOne) {
  namespace fs = std::filesystem;
  const fs::path folder =
      testing::TempDir() + "model_loader_test_" + std::to_string(::getpid()) + "_names";
  fs::create_directories(folder / "checkpoint");
  std::ofstream(folder / "qwen3.gguf") << "x";
  std::ofstream(folder / "qwen3.txt") << "x";
  fs::create_directories(folder / ".git");
  const auto message = [&](const char* name) {
    const auto opened = open_model_argument((folder / name).string());
    return opened.ok() ? "opened" : opened.error().message;
  };
  const std::string of_file = message("qwem3.gguf"), of_folder = message("chekpoint/");
  const std::string of_nothing_near = message("x.gguf");
  const std::string in_no_folder = open_model_argument("/nowhere/at/all.gguf").error().message;
  fs::remove_all(folder);
  EXPECT_TRUE(of_file.ends_with("did you mean '" + (folder / "qwen3.gguf").string() + "'?"))
      << of_file;
  EXPECT_TRUE(of_folder.ends_with("did you mean '" + (folder / "checkpoint").string() + "'?"))
      << of_folder;
  EXPECT_TRUE(in_no_folder.ends_with("checkpoint")) << in_no_folder;
  EXPECT_EQ(of_nothing_near.find("did you mean"), std::string::npos) << of_nothing_near;
}

TEST(ModelLoader, TellsATextFromAFile) {
  EXPECT_TRUE(reads_like_text("hello there"));
  EXPECT_TRUE(reads_like_text("Why?"));
  EXPECT_FALSE(reads_like_text("hello"));
  EXPECT_FALSE(reads_like_text("my model.gguf"));
  EXPECT_FALSE(reads_like_text(""));
  const std::string path =
      testing::TempDir() + "model_loader_test " + std::to_string(::getpid()) + "!";
  std::ofstream(path) << "x";
  EXPECT_FALSE(reads_like_text(path));
  std::filesystem::remove(path);
}

TEST(ModelLoader, WhatIsNoModelIsRefusedByName) {
  const std::string path =
      testing::TempDir() + "model_loader_test_" + std::to_string(::getpid()) + ".gguf";
  std::ofstream(path) << "not a model";
  const auto loaded = load_for_running({.path = path, .threads = 1});
  std::filesystem::remove(path);
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code, ErrorCode::kBadModel);
  EXPECT_EQ(loaded.error().message.find(path), 0u) << loaded.error().message;
}

}  // namespace
}  // namespace realm
