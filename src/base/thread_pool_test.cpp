#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

namespace realm {
namespace {

TEST(ThreadPool, EveryPieceRunsOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 300; ++round) {
      const int pieces = round % 17;
      std::vector<std::atomic<int>> counts(static_cast<size_t>(pieces));
      pool.parallel_for(pieces, [&](int64_t piece, int thread) {
        ASSERT_LT(thread, threads);
        counts[static_cast<size_t>(piece)].fetch_add(1);
      });
      for (auto& count : counts) ASSERT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadPool, WorksAfterWorkersFellAsleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::atomic<int64_t> sum{0};
    pool.parallel_for(100, [&](int64_t piece, int) { sum += piece; });
    ASSERT_EQ(sum.load(), 4950);
  }
}

TEST(ThreadPool, CallerSleepsForASlowPiece) {
  ThreadPool pool(2);
  std::atomic<int> done{0};
  pool.parallel_for(2, [&](int64_t, int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    ++done;
  });
  EXPECT_EQ(done.load(), 2);
}

TEST(ThreadPool, ReportsAtLeastOneCore) {
  EXPECT_GE(usable_cores(), 1);
}

}  // namespace
}  // namespace realm
