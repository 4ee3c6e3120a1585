// One pool of compute threads for everything in the process that computes: several models loaded at
// once would otherwise run more threads than there are cores, each waiting for one that has none.
// Whoever computes takes a turn, a step of a model long; turns are given in the order of asking, so
// that no model waits for another more than a step.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "base/thread_pool.h"

namespace realm {

class SharedPool {
 public:
  explicit SharedPool(int num_threads) : pool_(num_threads) {}
  int num_threads() const { return pool_.num_threads(); }

  class Turn {
   public:
    explicit Turn(SharedPool& shared) : shared_(shared) {
      std::unique_lock lock(shared_.mutex_);
      const uint64_t ticket = shared_.tickets_++;
      shared_.next_.wait(lock, [&] { return shared_.serving_ == ticket; });
    }
    ~Turn() {
      {
        const std::lock_guard lock(shared_.mutex_);
        ++shared_.serving_;
      }
      shared_.next_.notify_all();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ThreadPool& pool() { return shared_.pool_; }

   private:
    SharedPool& shared_;
  };

  // Requires a turn.
  ThreadPool& pool() { return pool_; }

 private:
  ThreadPool pool_;
  std::mutex mutex_;
  std::condition_variable next_;
  uint64_t tickets_ = 0, serving_ = 0;
};

}  // namespace realm
