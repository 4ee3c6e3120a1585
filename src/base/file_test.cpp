#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

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

TEST(File, ReadsIntoMemoryWhatItCouldMap) {
  TemporaryFolder folder;
  const std::string path = folder.path / "out";
  std::string text(3'000'001, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  std::ofstream(path) << text;
  const auto read = MappedFile::open(path, FileAccess::kRead);
  ASSERT_TRUE(read.ok()) << read.error().message;
  // What happens to the file afterwards no longer matters.
  std::ofstream(path) << "gone";
  const auto bytes = read->bytes();
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), text);
  std::ofstream(path).flush();
  EXPECT_TRUE(MappedFile::open(path, FileAccess::kRead)->bytes().empty());
  EXPECT_EQ(MappedFile::open("/tmp", FileAccess::kRead).error().code, ErrorCode::kIo);
}

TEST(File, SaysWhatIsWrong) {
  EXPECT_EQ(MappedFile::open("/nonexistent/x").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(MappedFile::open("/tmp").error().code, ErrorCode::kIo);
  EXPECT_FALSE(AtomicFile::create("/nonexistent/x").ok());
}

TEST(File, PipesAreReadAsTextAndNeverMapped) {
  TemporaryFolder folder;
  const std::string path = folder.path / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(path).error().code, ErrorCode::kIo);  // and does not wait
  const std::string text(200'000, 'x');
  std::thread writer([&] { std::ofstream(path) << text; });
  EXPECT_EQ(*read_text_file(path, 1 << 20), text);
  writer.join();
  EXPECT_EQ(read_text_file("/dev/zero", 1000).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(read_text_file("/tmp", 1000).error().code, ErrorCode::kIo);
  EXPECT_EQ(read_text_file("/nonexistent", 1000).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(*read_text_file("/dev/null", 1000), "");
}

TEST(File, DevicesAreWrittenToAndNotReplaced) {
  auto null = AtomicFile::create("/dev/null");
  ASSERT_TRUE(null.ok());
  EXPECT_TRUE(null->write("gone").ok());
  EXPECT_TRUE(null->commit().ok());
  EXPECT_TRUE(fs::is_character_file("/dev/null"));

  auto full = AtomicFile::create("/dev/full");
  ASSERT_TRUE(full.ok());
  EXPECT_TRUE(full->write("lost").ok());  // buffered
  const Status status = full->commit();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kExhausted);
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
  EXPECT_FALSE(AtomicFile::create("/tmp").ok());
}

TEST(File, LinksAreFollowed) {
  TemporaryFolder folder;
  const std::string target = folder.path / "target", link = folder.path / "link";
  for (const char* text : {"old", "new"}) {
    auto file = AtomicFile::create(text == std::string("old") ? target : link);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write(text).ok());
    ASSERT_TRUE(file->commit().ok());
    if (!fs::exists(link)) fs::create_symlink(target, link);
  }
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(*read_text_file(target, 100), "new");
}

}  // namespace
}  // namespace realm
