// Ctrl-C (SIGINT) and SIGTERM. Outside any scope they end the program at once with status 130. Work
// that has something to put away, or a chat that goes on, opens an InterruptScope: then the first
// signal only raises a flag, which long loops poll, and makes a file descriptor readable, which
// waits can watch; a second signal before the first was dealt with ends the program at once. A
// signal handler has no argument to carry a context, hence the one process-wide state here.
#pragma once

#include <atomic>

#include "base/result.h"

namespace realm {

// Called once, before any thread starts.
void install_interrupt_handler();

class InterruptScope {
 public:
  // What a second Ctrl-C does before the first was dealt with: a command that is too busy to notice
  // can be ended by insisting, a chat cannot by a nervous finger. SIGTERM always insists.
  enum class Second { kEnds, kIgnored };
  explicit InterruptScope(Second second = Second::kEnds);  // scopes do not nest
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  const std::atomic<bool>& flag() const;
  // Readable from the signal until clear().
  int fd() const;
  // Whether it was SIGTERM: the program is to end.
  bool is_termination() const;
  // The signal was dealt with; the next one is a first one again.
  void clear();
  // kCancelled once the flag is up.
  Status check() const;
};

}  // namespace realm
