// The editor on a pseudo-terminal: a child process reads lines and reports them, the test types.
#include "app/terminal/line_editor.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>

namespace {
bool g_line_mode = false;  // some call has put the terminal in line mode
}

// In the place of the C library's, for libedit too: sees every change of the terminal's mode.
extern "C" int tcsetattr(int fd, int actions, const termios* settings) noexcept {
  static const auto set =
      reinterpret_cast<int (*)(int, int, const termios*)>(dlsym(RTLD_NEXT, "tcsetattr"));
  g_line_mode = g_line_mode || (settings->c_lflag & ICANON) != 0;
  return set(fd, actions, settings);
}

namespace realm {
namespace {

[[noreturn]] void child(const std::string& history) {
  setenv("TERM", "xterm", 1);
  setenv("HOME", "/nonexistent", 1);
  install_interrupt_handler();
  {
    InterruptScope scope(InterruptScope::Second::kIgnored);
    auto editor = LineEditor::create(scope, history, false);
    if (!editor.ok()) _exit(9);
    g_line_mode = false;
    while (true) {
      const LineRead read = (*editor)->read_line(">>> ");
      scope.clear();
      if (read.kind == LineRead::Kind::kEnd) break;
      std::string shown = read.kind == LineRead::Kind::kInterrupted ? "interrupted" : "line";
      shown += "<";
      for (const char c : read.text) shown += c == '\n' ? std::string("|") : std::string(1, c);
      std::printf("%s>%s\n", shown.c_str(), g_line_mode ? " in line mode" : "");
      std::fflush(stdout);
      if (read.text == "busy") {
        usleep(200000);
        std::printf("done\n");
        std::fflush(stdout);
      }
    }
  }
  _exit(7);
}

class Terminal {
 public:
  explicit Terminal(const std::string& history = "") {
    winsize size = {24, 60, 0, 0};
    pid_ = forkpty(&fd_, nullptr, nullptr, &size);
    if (pid_ == 0) child(history);
  }
  ~Terminal() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(fd_);
  }

  void type(const std::string& keys) {
    ASSERT_EQ(write(fd_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  // Waits for `text` behind what earlier calls found.
  bool wait_for(const std::string& text) {
    const auto deadline = Clock::now() + kPatience;
    while (true) {
      if (const size_t at = seen_.find(text); at != std::string::npos) {
        passed_ = seen_.substr(0, at);
        seen_.erase(0, at + text.size());
        return true;
      }
      if (Clock::now() > deadline || !read_some()) return false;
    }
  }
  // -1 unless the child ends by itself in time; a child that does not is killed.
  int exit_status() {
    const auto deadline = Clock::now() + kPatience;
    while (Clock::now() < deadline && read_some()) {
    }
    const pid_t pid = std::exchange(pid_, -1);
    int status = 0;
    pid_t ended = 0;
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && Clock::now() < deadline) usleep(5000);
    if (ended == 0) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
      return -1;
    }
    return ended == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  const std::string& seen() const { return seen_; }
  // What came before the text that was waited for last.
  const std::string& passed() const { return passed_; }

 private:
  using Clock = std::chrono::steady_clock;
  // Longer than a loaded machine takes, shorter than the test may.
  static constexpr std::chrono::seconds kPatience{60};

  // Half a second at most; false once the terminal is gone.
  bool read_some() {
    pollfd ready = {fd_, POLLIN, 0};
    if (poll(&ready, 1, 500) < 0) return errno == EINTR;
    if ((ready.revents & (POLLIN | POLLHUP | POLLERR)) == 0) return true;
    char buffer[4096];
    const ssize_t count = read(fd_, buffer, sizeof buffer);
    if (count > 0) seen_.append(buffer, static_cast<size_t>(count));
    return count > 0;
  }

  int fd_ = -1;
  pid_t pid_ = -1;
  std::string seen_, passed_;
};

TEST(LineEditor, ReadsEditsAndEnds) {
  Terminal terminal;
  ASSERT_TRUE(terminal.wait_for(">>> ")) << terminal.seen();
  terminal.type("hello\r");
  ASSERT_TRUE(terminal.wait_for("line<hello>")) << terminal.seen();
  // Back one character, delete another: héllo 日本🎈 and its neighbours are one character each.
  ASSERT_TRUE(terminal.wait_for(">>> "));
  terminal.type("h\xC3\xA9llo \xE6\x97\xA5\xE6\x9C\xAC\xF0\x9F\x8E\x88x\x02\x7f!\r");
  ASSERT_TRUE(terminal.wait_for("line<h\xC3\xA9llo \xE6\x97\xA5\xE6\x9C\xAC!x>"))
      << terminal.seen();
  ASSERT_TRUE(terminal.wait_for(">>> "));
  terminal.type("\x1b[A\x1b[A\r");  // two up in the history
  ASSERT_TRUE(terminal.wait_for("line<hello>")) << terminal.seen();
  ASSERT_TRUE(terminal.wait_for(">>> "));
  terminal.type("\x04");
  EXPECT_EQ(terminal.exit_status(), 7);
}

TEST(LineEditor, InterruptEndsTheLineAndNotTheProgram) {
  Terminal terminal;
  ASSERT_TRUE(terminal.wait_for(">>> "));
  terminal.type("half");
  ASSERT_TRUE(terminal.wait_for("half"));  // or the signal would flush it away unread
  terminal.type("\x03");
  ASSERT_TRUE(terminal.wait_for("interrupted<half>")) << terminal.seen();
  ASSERT_TRUE(terminal.wait_for(">>> "));
  terminal.type("\x03");
  ASSERT_TRUE(terminal.wait_for("interrupted<>")) << terminal.seen();
  ASSERT_TRUE(terminal.wait_for(">>> "));
  terminal.type("whole\r");
  ASSERT_TRUE(terminal.wait_for("line<whole>")) << terminal.seen();
  ASSERT_TRUE(terminal.wait_for(">>> "));
  terminal.type("\x04");
  EXPECT_EQ(terminal.exit_status(), 7);
}

// The child answers "busy" by not reading for a while.
TEST(LineEditor, KeysTypedBetweenLinesWaitUnseen) {
  Terminal terminal;
  ASSERT_TRUE(terminal.wait_for(">>> "));
  terminal.type("busy\r");
  ASSERT_TRUE(terminal.wait_for("line<busy>"));
  terminal.type("ahead\r\x04");
  ASSERT_TRUE(terminal.wait_for("done\r\n")) << terminal.seen();
  EXPECT_EQ(terminal.passed().find("ahead"), std::string::npos) << terminal.passed();
  // A Ctrl-D that comes while it is would be lost.
  EXPECT_EQ(terminal.passed().find("in line mode"), std::string::npos) << terminal.passed();
  ASSERT_TRUE(terminal.wait_for("line<ahead>")) << terminal.seen();
  EXPECT_EQ(terminal.exit_status(), 7) << "Ctrl-D was lost";
}

TEST(LineEditor, PastedLinesStayTogether) {
  Terminal terminal;
  ASSERT_TRUE(terminal.wait_for("\x1b[?2004h")) << "pastes are not bracketed";
  ASSERT_TRUE(terminal.wait_for(">>> "));
  terminal.type("a \x1b[200~one\rtwo\nthree\x1b[201~ b\r");
  ASSERT_TRUE(terminal.wait_for("line<a one|two|three b>")) << terminal.seen();
}

TEST(LineEditor, HistoryOutlivesTheProgram) {
  const std::string path = testing::TempDir() + "realm-history-" + std::to_string(::getpid());
  {
    Terminal terminal(path);
    ASSERT_TRUE(terminal.wait_for(">>> "));
    terminal.type("secret \xC3\xA9\r");
    ASSERT_TRUE(terminal.wait_for("line<secret \xC3\xA9>"));
    ASSERT_TRUE(terminal.wait_for(">>> "));
    terminal.type("\x04");
    EXPECT_EQ(terminal.exit_status(), 7);
  }
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  {
    Terminal terminal(path);
    ASSERT_TRUE(terminal.wait_for(">>> "));
    terminal.type("\x1b[A\r");
    EXPECT_TRUE(terminal.wait_for("line<secret \xC3\xA9>")) << terminal.seen();
  }
  std::remove(path.c_str());
}

}  // namespace
}  // namespace realm
