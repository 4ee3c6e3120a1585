// Which piece of a job a thread of the pool takes next, so that a thread's pieces lie side by side:
// what it reads next is known and can be asked for early, across the ends of pieces. Each thread
// has a range of its own and takes from its front; one that has none left takes the second half of
// the longest range of another, so that a core taken away still costs only its own share.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace realm::cpu {

class PieceRanges {
 public:
  struct Piece {
    int64_t index;
    bool follows;  // the thread's last piece of this job was index - 1
    bool more;     // index + 1 is in its range, though another may take it
  };

  explicit PieceRanges(int num_threads) : slots_(static_cast<size_t>(num_threads)) {}

  // Before a job of so many pieces, fewer than 2^31; no thread is in take().
  void start(int64_t num_pieces) {
    const auto n = static_cast<int64_t>(slots_.size());
    for (int64_t t = 0; t < n; ++t) {
      Slot& slot = slots_[static_cast<size_t>(t)];
      slot.range.store(pack(num_pieces * t / n, num_pieces * (t + 1) / n),
                       std::memory_order_relaxed);
      slot.next = -1;
    }
  }

  // Every piece once. Called at most once for each piece of the job, from parallel_for's body: so
  // there is one for each caller, at most on its way from one range to another.
  Piece take(int thread) {
    Slot& own = slots_[static_cast<size_t>(thread)];
    for (;;) {
      uint64_t range = own.range.load(std::memory_order_acquire);
      while (length(range) > 0) {
        if (own.range.compare_exchange_weak(range, pack(begin(range) + 1, end(range)),
                                            std::memory_order_acq_rel)) {
          return taken(own, begin(range), end(range));
        }
      }
      Slot* richest = nullptr;
      for (Slot& slot : slots_) {
        const uint64_t other = slot.range.load(std::memory_order_acquire);
        if (length(other) <= length(range)) continue;
        richest = &slot;
        range = other;
      }
      if (richest == nullptr) continue;
      const int64_t middle = begin(range) + length(range) / 2, last = end(range);
      if (!richest->range.compare_exchange_strong(range, pack(begin(range), middle),
                                                  std::memory_order_acq_rel)) {
        continue;
      }
      // Nobody else writes to a range that is empty.
      own.range.store(pack(middle + 1, last), std::memory_order_release);
      return taken(own, middle, last);
    }
  }

 private:
  // Begin and end in one word.
  struct alignas(64) Slot {
    std::atomic<uint64_t> range{0};
    int64_t next = -1;  // after the piece that the thread took last
  };
  static uint64_t pack(int64_t begin, int64_t end) {
    return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
  }
  static int64_t begin(uint64_t range) { return static_cast<int64_t>(range >> 32); }
  static int64_t end(uint64_t range) { return static_cast<int64_t>(range & 0xffffffff); }
  static int64_t length(uint64_t range) { return end(range) - begin(range); }
  static Piece taken(Slot& own, int64_t index, int64_t end) {
    const Piece piece{index, own.next == index, index + 1 < end};
    own.next = index + 1;
    return piece;
  }

  std::vector<Slot> slots_;
};

}  // namespace realm::cpu
