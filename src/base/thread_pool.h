// The process's compute threads. One caller at a time hands out a job as many small pieces; every
// thread, the caller included, takes the next piece from a shared counter, so that a core taken
// away by another process costs only its own share. Waiting threads spin for some microseconds (the
// gap between two ops of a forward pass is shorter than a futex wake-up), then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace realm {

class ThreadPool {
 public:
  // num_threads >= 1 counts the caller of parallel_for.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(piece, thread) for every piece in [0, num_pieces), thread in [0, num_threads()).
  // Returns when all are done. Not reentrant; num_pieces < 2^24.
  template <typename Body>
  void parallel_for(int64_t num_pieces, Body&& body) {
    run(
        num_pieces,
        [](void* context, int64_t piece, int thread) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(piece, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Function = void (*)(void* context, int64_t piece, int thread);
  void run(int64_t num_pieces, Function function, void* context);
  void work(int thread);
  // Takes pieces of the current job until none is left.
  void drain(int thread);

  // Job, number of pieces and next piece in one word, so that a late thread can never take a piece
  // of one job by the count of another: epoch (16 bits) | count (24) | next (24).
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint32_t> caller_sleeps_{0};
  std::atomic<Function> function_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

// Cores this process may use: affinity mask and cgroup CPU quota, rounded up.
int usable_cores();

}  // namespace realm
