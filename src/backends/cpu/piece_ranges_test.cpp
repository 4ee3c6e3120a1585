#include "backends/cpu/piece_ranges.h"

#include <gtest/gtest.h>

#include "base/thread_pool.h"

namespace realm::cpu {
namespace {

TEST(PieceRanges, EveryPieceIsTakenOnce) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    PieceRanges ranges(threads);
    for (const int64_t pieces : {1, 2, 5, 64, 1000}) {
      std::vector<std::atomic<int>> taken(static_cast<size_t>(pieces));
      ranges.start(pieces);
      pool.parallel_for(pieces, [&](int64_t, int thread) {
        ++taken[static_cast<size_t>(ranges.take(thread).index)];
      });
      for (int64_t i = 0; i < pieces; ++i) EXPECT_EQ(taken[static_cast<size_t>(i)], 1) << i;
    }
  }
}

TEST(PieceRanges, AThreadTakesNeighboursAndThenHalfOfTheLongestRange) {
  PieceRanges ranges(2);
  ranges.start(8);
  const auto expect = [&](int thread, int64_t index, bool follows, bool more) {
    const PieceRanges::Piece piece = ranges.take(thread);
    EXPECT_EQ(piece.index, index);
    EXPECT_EQ(piece.follows, follows) << index;
    EXPECT_EQ(piece.more, more) << index;
  };
  expect(0, 0, false, true);
  expect(0, 1, true, true);
  expect(0, 2, true, true);
  expect(0, 3, true, false);
  expect(0, 6, false, true);  // of 4 to 7
  expect(1, 4, false, true);
  expect(0, 7, true, false);
  expect(1, 5, true, false);
}

}  // namespace
}  // namespace realm::cpu
