#include "base/file.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace realm {
namespace {

namespace fs = std::filesystem;

struct TemporaryFolder {
  fs::path path = fs::temp_directory_path() / ("realm-file-test-" + std::to_string(::getpid()));
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
};

TEST(File, WritesWholeOrNotAtAll) {
  TemporaryFolder folder;
  const std::string path = folder.path / "out.bin";
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("half").ok());
  }
  EXPECT_TRUE(fs::is_empty(folder.path));
  auto file = AtomicFile::create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->write("whole").ok());
  ASSERT_TRUE(file->write_at(0, std::as_bytes(std::span("W", 1))).ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(*read_text_file(path, 100), "Whole");
  EXPECT_EQ(read_text_file(path, 3).error().code, ErrorCode::kInvalidArgument);
}

TEST(File, SaysWhatIsWrong) {
  EXPECT_EQ(MappedFile::open("/nonexistent/x").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(MappedFile::open("/tmp").error().code, ErrorCode::kIo);
  EXPECT_FALSE(AtomicFile::create("/nonexistent/x").ok());
}


}  // namespace
}  // namespace realm
