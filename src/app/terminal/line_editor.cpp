#include "app/terminal/line_editor.h"

#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdlib>
#include <cstring>

#include "text/utf8.h"

namespace realm {

struct LineEditor::State {
  const InterruptScope* scope = nullptr;
  EditLine* editor = nullptr;
  HistoryW* history = nullptr;
  std::string history_path;
  bool color = false;
  std::wstring prompt;
  std::wstring interrupted_line;  // what had been typed when a signal ended the wait
  bool interrupted = false;
  termios original = {};
};

namespace {

constexpr int kHistoryLines = 1000;
constexpr size_t kMaxPasteCharacters = size_t{1} << 20;
constexpr wchar_t kPasteEnd[] = L"\x1b[201~";
// Around the parts of a prompt that take no room on the screen.
constexpr wchar_t kInvisible = L'\1';

// Programs that begin with "C" as locale still talk UTF-8 with the terminals of today; libedit asks
// the C library how characters look.
void use_utf8_characters() {
  if (std::setlocale(LC_CTYPE, "") == nullptr || std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
}

std::string narrow(std::wstring_view wide) {
  std::string text;
  for (const wchar_t c : wide) append_utf8(static_cast<char32_t>(c), text);
  return text;
}

// A byte from the terminal: 1 read, 0 end of input, -1 error or signal.
int read_byte(const InterruptScope& scope, unsigned char& byte) {
  while (true) {
    if (scope.flag().load()) return -1;
    pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {scope.fd(), POLLIN, 0}};
    const int ready = poll(fds, 2, -1);
    if (ready < 0 && errno != EINTR) return -1;
    if (ready <= 0 || fds[0].revents == 0) continue;
    const ssize_t count = read(STDIN_FILENO, &byte, 1);
    if (count < 0 && errno == EINTR) continue;
    return static_cast<int>(count);
  }
}

int read_character(const InterruptScope& scope, wchar_t* out) {
  std::string bytes;
  while (true) {
    unsigned char byte = 0;
    const int count = read_byte(scope, byte);
    if (count <= 0) return count;
    bytes += static_cast<char>(byte);
    const Utf8Scan scan = scan_utf8(bytes);
    if (scan.kind == Utf8Scan::kIncomplete) continue;
    size_t offset = 0;
    *out = scan.kind == Utf8Scan::kComplete ? static_cast<wchar_t>(next_code_point(bytes, offset))
                                            : L'\xfffd';
    return 1;
  }
}

// While nobody reads: what is typed waits unseen for the next prompt, keys as keys. In the
// terminal's line mode it would be printed into the answer, and Ctrl-D would arrive as a zero byte.
void wait_unseen(const termios& original) {
  termios quiet = original;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  quiet.c_cc[VMIN] = 1;
  quiet.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
}

void* client_data(EditLine* editor) {
  void* data = nullptr;
  el_wget(editor, EL_CLIENTDATA, &data);
  return data;
}

}  // namespace

// libedit's hooks. It passes the editor; the state hangs on it.
struct LineEditorHooks {
  static LineEditor::State& state(EditLine* editor) {
    return *static_cast<LineEditor::State*>(client_data(editor));
  }

  static wchar_t* prompt(EditLine* editor) { return state(editor).prompt.data(); }

  static int get_character(EditLine* editor, wchar_t* out) {
    LineEditor::State& s = state(editor);
    const int count = read_character(*s.scope, out);
    if (count < 0 && s.scope->flag().load()) {
      const LineInfoW* line = el_wline(editor);
      s.interrupted_line.assign(line->buffer, line->lastchar);
      s.interrupted = true;
    }
    return count;
  }

  // Text pasted into a terminal that brackets it: put into the line as it is, line feeds too, where
  // typing them would end the line.
  static unsigned char paste(EditLine* editor, wint_t) {
    std::wstring text;
    wchar_t c = 0;
    while (!text.ends_with(kPasteEnd)) {
      if (el_wgetc(editor, &c) != 1) return CC_EOF;
      text += c == L'\r' ? L'\n' : c;
      if (text.size() > kMaxPasteCharacters) return CC_ERROR;
    }
    text.resize(text.size() - std::wcslen(kPasteEnd));
    return el_winsertstr(editor, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }
};

Result<std::unique_ptr<LineEditor>> LineEditor::create(const InterruptScope& scope,
                                                       const std::string& history_path,
                                                       bool color) {
  use_utf8_characters();
  auto state = std::make_unique<State>();
  state->scope = &scope;
  state->color = color;
  state->history_path = history_path;
  const bool is_tty = tcgetattr(STDIN_FILENO, &state->original) == 0;
  state->editor = is_tty ? el_init("realm", stdin, stdout, stderr) : nullptr;
  if (state->editor == nullptr) {
    return Error{ErrorCode::kUnavailable,
                 "the terminal cannot be used for editing lines; give the prompt as an argument"};
  }
  EditLine* editor = state->editor;
  el_wset(editor, EL_CLIENTDATA, static_cast<void*>(state.get()));
  el_wset(editor, EL_PROMPT_ESC, &LineEditorHooks::prompt, kInvisible);
  el_wset(editor, EL_GETCFN, &LineEditorHooks::get_character);
  el_wset(editor, EL_EDITOR, L"emacs");
  // Window size, Ctrl-Z and return from it; Ctrl-C it passes on to our handler.
  el_wset(editor, EL_SIGNAL, 1);
  // libedit leaves the terminal between lines as wait_unseen() does. In line mode, however short, a
  // Ctrl-D typed right behind a line would be lost.
  el_wset(editor, EL_SETTY, L"-x", L"-icanon", L"-echo", nullptr);
  el_wset(editor, EL_ADDFN, L"realm-paste", L"insert pasted text", &LineEditorHooks::paste);
  el_wset(editor, EL_BIND, L"\x1b[200~", L"realm-paste", nullptr);
  el_wset(editor, EL_BIND, L"^R", L"em-inc-search-prev", nullptr);
  el_source(editor, nullptr);  // ~/.editrc, where there is one

  state->history = history_winit();
  if (state->history != nullptr) {
    HistEventW event;
    history_w(state->history, &event, H_SETSIZE, kHistoryLines);
    history_w(state->history, &event, H_SETUNIQUE, 1);
    // A file that is not there yet is no error.
    if (!history_path.empty()) history_w(state->history, &event, H_LOAD, history_path.c_str());
    el_wset(editor, EL_HIST, history_w, state->history);
  }
  wait_unseen(state->original);
  return std::unique_ptr<LineEditor>(new LineEditor(std::move(state)));
}

LineEditor::LineEditor(std::unique_ptr<State> state) : state_(std::move(state)) {}

LineEditor::~LineEditor() {
  if (state_->history != nullptr) {
    HistEventW event;
    if (!state_->history_path.empty()) {
      // Readable by the user alone: prompts are private.
      const mode_t before = umask(077);
      history_w(state_->history, &event, H_SAVE, state_->history_path.c_str());
      umask(before);
    }
    history_wend(state_->history);
  }
  el_end(state_->editor);
  tcsetattr(STDIN_FILENO, TCSANOW, &state_->original);
}

LineRead LineEditor::read_line(std::string_view prompt) {
  State& state = *state_;
  state.prompt.clear();
  const auto invisible = [&](const wchar_t* code) {
    if (state.color) (state.prompt += kInvisible).append(code) += kInvisible;
  };
  invisible(L"\x1b[1;32m");
  for (const char c : prompt) state.prompt += static_cast<wchar_t>(c);
  invisible(L"\x1b[0m");
  state.interrupted = false;

  const auto bracketed_paste = [](bool on) {
    std::fputs(on ? "\x1b[?2004h" : "\x1b[?2004l", stdout);
    std::fflush(stdout);
  };
  bracketed_paste(true);
  el_resize(state.editor);
  int count = 0;
  const wchar_t* line = el_wgets(state.editor, &count);
  bracketed_paste(false);
  wait_unseen(state.original);

  if (state.interrupted) {
    std::fputs("^C\n", stdout);
    std::fflush(stdout);
    return {LineRead::Kind::kInterrupted, narrow(state.interrupted_line)};
  }
  if (line == nullptr || count <= 0) return {LineRead::Kind::kEnd, {}};
  std::wstring_view text(line, static_cast<size_t>(count));
  if (text.ends_with(L'\n')) text.remove_suffix(1);
  if (text.find_first_not_of(L" \t\n") != std::wstring_view::npos && state.history != nullptr) {
    HistEventW event;
    history_w(state.history, &event, H_ENTER, std::wstring(text).c_str());
  }
  return {LineRead::Kind::kLine, narrow(text)};
}

ChatTerminal chat_terminal(LineEditor& editor, InterruptScope& scope, bool color) {
  ChatTerminal terminal;
  terminal.read_line = [&editor](std::string_view prompt) { return editor.read_line(prompt); };
  terminal.write = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  terminal.stop_flag = &scope.flag();
  terminal.settle = [&scope] { scope.clear(); };
  terminal.ending = [&scope] { return scope.is_termination(); };
  terminal.color = color;
  return terminal;
}

std::string default_history_path() {
  const char* state_home = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::string folder;
  const auto make = [](const std::string& path) {
    return mkdir(path.c_str(), 0700) == 0 || errno == EEXIST;
  };
  if (state_home != nullptr && state_home[0] == '/') {
    folder = state_home;
  } else if (home != nullptr && home[0] == '/') {
    folder = std::string(home) + "/.local";
    if (!make(folder)) return {};
    folder += "/state";
  } else {
    return {};
  }
  if (!make(folder) || !make(folder + "/realm")) return {};
  return folder + "/realm/history";
}

}  // namespace realm
