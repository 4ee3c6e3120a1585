#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/check.h"

namespace realm {
namespace {

constexpr uint64_t kPieceMask = (uint64_t{1} << 24) - 1;
// Longer than the serial part between two parallel ops, far shorter than a scheduler slice.
constexpr auto kSpin = std::chrono::microseconds(30);

void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until ready() or the spin time is over; whether it became ready.
template <typename Ready>
bool spin_until(Ready&& ready) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      cpu_relax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return ready();
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  CHECK(num_threads >= 1);
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int64_t num_pieces, Function function, void* context) {
  CHECK(num_pieces >= 0 && static_cast<uint64_t>(num_pieces) < kPieceMask / 2);
  if (num_pieces <= 1 || workers_.empty()) {
    for (int64_t i = 0; i < num_pieces; ++i) function(context, i, 0);
    return;
  }
  function_.store(function, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  const uint64_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  ticket_.store((epoch << 48) | (static_cast<uint64_t>(num_pieces) << 24),
                std::memory_order_release);
  // seq_cst: either this load sees a thread that is about to sleep, or that thread sees the epoch.
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) != 0) epoch_.notify_all();
  drain(0);
  const auto all_done = [&] {
    return done_.load(std::memory_order_acquire) == static_cast<uint32_t>(num_pieces);
  };
  if (spin_until(all_done)) return;
  // A worker lost its core in the middle of a piece; sleeping lets the kernel run it on this one.
  caller_sleeps_.store(1, std::memory_order_seq_cst);
  for (uint32_t seen = done_.load(); seen != static_cast<uint32_t>(num_pieces);
       seen = done_.load()) {
    done_.wait(seen);
  }
  caller_sleeps_.store(0, std::memory_order_relaxed);
}

void ThreadPool::drain(int thread) {
  for (;;) {
    const uint64_t ticket = ticket_.fetch_add(1, std::memory_order_acq_rel);
    const uint64_t count = (ticket >> 24) & kPieceMask;
    const uint64_t piece = ticket & kPieceMask;
    if (piece >= count) return;
    // Holding an unfinished piece keeps this job, and so these two fields, in place.
    function_.load(std::memory_order_relaxed)(context_.load(std::memory_order_relaxed),
                                              static_cast<int64_t>(piece), thread);
    done_.fetch_add(1, std::memory_order_seq_cst);
    if (caller_sleeps_.load(std::memory_order_seq_cst) != 0) done_.notify_all();
  }
}

void ThreadPool::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    const auto changed = [&] { return epoch_.load(std::memory_order_acquire) != seen; };
    if (!spin_until(changed)) {
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      epoch_.wait(seen, std::memory_order_seq_cst);
      sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    drain(thread);
  }
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  // cgroup v2: "max 100000" or "150000 100000".
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    char quota[32] = "";
    double period = 0;
    if (std::fscanf(file, "%31s %lf", quota, &period) == 2 && quota[0] != 'm' && period > 0) {
      const double limit = std::ceil(std::strtod(quota, nullptr) / period);
      cores = std::min(cores, std::max(1, static_cast<int>(limit)));
    }
    std::fclose(file);
  }
  return std::max(1, cores);
}

}  // namespace realm
