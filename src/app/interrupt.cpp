#include "app/interrupt.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "app/exit_status.h"

namespace realm {
namespace {

std::atomic<bool> in_scope{false};
std::atomic<bool> interrupted{false};
std::atomic<bool> terminated{false};
std::atomic<bool> second_ends{true};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may touch nothing else");
int pipe_fds[2] = {-1, -1};

void on_signal(int signal) {
  if (!in_scope.load()) _exit(kExitInterrupted);
  const bool insists = signal == SIGTERM ? terminated.exchange(true) : second_ends.load();
  if (interrupted.exchange(true)) {
    if (insists) _exit(kExitInterrupted);
    return;
  }
  const int saved = errno;
  // The pipe cannot fill: one byte per raised flag.
  if (write(pipe_fds[1], "", 1) != 1) _exit(kExitInterrupted);
  errno = saved;
}

}  // namespace

void install_interrupt_handler() {
  CHECK(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0);
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  // Without SA_RESTART: a read that waits for the terminal returns when the signal comes.
  CHECK(sigaction(SIGINT, &action, nullptr) == 0);
  CHECK(sigaction(SIGTERM, &action, nullptr) == 0);
}

InterruptScope::InterruptScope(Second second) {
  second_ends.store(second == Second::kEnds);
  clear();
  CHECK(!in_scope.exchange(true));
}

InterruptScope::~InterruptScope() {
  in_scope.store(false);
  clear();
}

const std::atomic<bool>& InterruptScope::flag() const {
  return interrupted;
}

bool InterruptScope::is_termination() const {
  return terminated.load();
}

int InterruptScope::fd() const {
  return pipe_fds[0];
}

void InterruptScope::clear() {
  char byte;
  while (pipe_fds[0] >= 0 && read(pipe_fds[0], &byte, 1) == 1) {
  }
  interrupted.store(false);
}

Status InterruptScope::check() const {
  if (interrupted.load()) return Error{ErrorCode::kCancelled, "interrupted"};
  return {};
}

}  // namespace realm
