// One line from a terminal, with editing, history and pasted text kept together, by libedit (the
// BSD line editor; Emacs and vi keys as ~/.editrc says). Lives for the length of a chat and owns
// the terminal while it reads. Characters are read here rather than by libedit, so that a signal
// ends the wait: libedit by itself goes on after one.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "app/interrupt.h"
#include "app/terminal/chat.h"
#include "base/result.h"

namespace realm {

class LineEditor {
 public:
  // On stdin and stdout, which must be terminals. `history_path`: read now and written at the end;
  // empty for none. `scope` ends the wait for a line when its flag goes up.
  // Errors: kUnavailable where libedit does not know this terminal.
  static Result<std::unique_ptr<LineEditor>> create(const InterruptScope& scope,
                                                    const std::string& history_path, bool color);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // Without the line feed. kInterrupted carries what had been typed.
  LineRead read_line(std::string_view prompt);

 private:
  struct State;
  friend struct LineEditorHooks;
  explicit LineEditor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The chat's terminal: lines from `editor`, output to stdout, Ctrl-C through `scope`. Refers to
// both. Errors of writing to stdout stay in its error state, which the program looks at in the end.
ChatTerminal chat_terminal(LineEditor& editor, InterruptScope& scope, bool color);

// $XDG_STATE_HOME/realm/history or ~/.local/state/realm/history, its folder made where it is
// missing; empty where there is no home or the folder cannot be made.
std::string default_history_path();

}  // namespace realm
