// A progress bar on stderr for long work, shown only where stderr is a terminal and only once the
// work takes longer than a blink; gone without a trace when it ends.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace realm {

class Progress {
 public:
  // `total` units of work (tensors, bytes, questions).
  Progress(std::string label, uint64_t total, std::FILE* to = stderr);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Cheap enough for an inner loop: draws ten times a second at most.
  void update(uint64_t done);

  // The line for `done`, at most `columns` wide; for tests.
  std::string line(uint64_t done, int columns, double seconds) const;

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_;
  uint64_t total_;
  std::FILE* to_;
  bool visible_;
  bool drawn_ = false;
  Clock::time_point started_, next_draw_;
};

}  // namespace realm
