#include "tenants/sqlite.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

namespace realm {
namespace {

class Sqlite : public testing::Test {
 protected:
  Sqlite() {
    std::string pattern = testing::TempDir() + "realm-sqlite-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    path_ = folder_ / "store.db";
  }
  ~Sqlite() override { std::filesystem::remove_all(folder_); }

  // Whether another process meets the shared lock that every connection to a file with a log keeps:
  // without it that process would take itself for the last one and remove the log.
  // Where it lies: https://sqlite.org/fileformat2.html, "The Lock-Byte Page".
  bool others_see_a_lock() const {
    const pid_t child = ::fork();
    if (child == 0) {
      struct flock lock {};
      lock.l_type = F_WRLCK;
      lock.l_whence = SEEK_SET;
      lock.l_start = 0x40000002;
      lock.l_len = 510;
      const int fd = ::open(path_.c_str(), O_RDWR);
      const bool is_known = fd >= 0 && ::fcntl(fd, F_GETLK, &lock) == 0;
      ::_exit(!is_known ? 2 : lock.l_type == F_UNLCK ? 1 : 0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) < 2) << status;
    return WEXITSTATUS(status) == 0;
  }

  std::filesystem::path folder_, path_;
};

TEST_F(Sqlite, ASecondConnectionLeavesTheFirstOnesLocks) {
  auto first = SqliteDatabase::open(path_, true);
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(others_see_a_lock());
  ASSERT_TRUE((*first)->execute("PRAGMA journal_mode = WAL; CREATE TABLE t (x INTEGER)").ok());
  EXPECT_TRUE(others_see_a_lock());
  {
    const auto second = SqliteDatabase::open(path_, true);
    ASSERT_TRUE(second.ok());
    EXPECT_TRUE(others_see_a_lock());
    ASSERT_EQ((*second)->query_integer("SELECT count(*) FROM t").value(), 0);
  }
  EXPECT_TRUE(others_see_a_lock());
  EXPECT_FALSE(SqliteDatabase::open(folder_, false).ok());
  EXPECT_TRUE(others_see_a_lock());
}

TEST_F(Sqlite, FilesAreMadeForTheirOwnerOnlyWhereThatIsWanted) {
  const auto missing = SqliteDatabase::open(path_, false);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(path_));
  ASSERT_TRUE(SqliteDatabase::open(path_, true).ok());
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(SqliteDatabase::open(folder_ / "none" / "store.db", true).error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace realm
