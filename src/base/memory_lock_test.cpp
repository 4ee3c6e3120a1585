#include "base/memory_lock.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace realm {
namespace {

constexpr size_t kBytes = 16384;

TEST(MemoryLock, LocksWhatIsMappedAndRefusesWhatIsNot) {
  void* memory =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(memory), kBytes);
  EXPECT_TRUE(lock_memory(bytes).ok());
  EXPECT_TRUE(lock_memory(bytes.subspan(100, 50)).ok());
  EXPECT_TRUE(lock_memory({}).ok());
  ::munmap(memory, kBytes);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers make mlock do nothing";
#endif
  const Status refused = lock_memory(bytes);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_TRUE(refused.error().message.starts_with("cannot lock 1 MB in memory: "))
      << refused.error().message;
}

}  // namespace
}  // namespace realm
