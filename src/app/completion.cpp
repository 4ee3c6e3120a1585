#include "app/completion.h"

#include <CLI/App.hpp>
#include <vector>

#include "app/nearest.h"

namespace realm {
namespace {

// The tree, reduced to what shells need.
struct OptionWords {
  std::vector<std::string> names;  // with their dashes; empty: a positional argument
  bool takes_value;
  std::vector<std::string> choices;
  std::string help;
};
struct CommandWords {
  std::string name;
  std::string help;
  std::vector<OptionWords> options;
};

// "{a,b,c}" anywhere in the value's name says what the choices are.
std::vector<std::string> choices_of(const std::string& type_name) {
  const size_t open = type_name.find('{'), close = type_name.find('}');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  return CLI::detail::split(type_name.substr(open + 1, close - open - 1), ',');
}

CommandWords words_of(const CLI::App& app) {
  CommandWords command{app.get_name(), app.get_description(), {}};
  for (const CLI::Option* option : app.get_options()) {
    OptionWords words{{},
                      option->get_items_expected_max() > 0,
                      choices_of(option->get_type_name()),
                      option->get_description()};
    for (const std::string& name : option->get_snames()) words.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) words.names.push_back("--" + name);
    command.options.push_back(std::move(words));
  }
  return command;
}

std::vector<CommandWords> commands_of(const CLI::App& root) {
  std::vector<CommandWords> commands;
  for (const CLI::App* command : root.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(words_of(*command));
  }
  return commands;
}

std::string join(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

// A word in single quotes for a POSIX shell or fish.
std::string single_quoted(const std::string& text, const char* quote) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? quote : std::string(1, c);
  return out + "'";
}

std::vector<std::string> positional_choices(const CommandWords& command) {
  std::vector<std::string> choices;
  for (const OptionWords& option : command.options) {
    if (option.names.empty()) {
      choices.insert(choices.end(), option.choices.begin(), option.choices.end());
    }
  }
  return choices;
}

std::string bash(const std::vector<CommandWords>& commands) {
  std::vector<std::string> names;
  for (const CommandWords& command : commands) names.push_back(command.name);
  std::string script =
      "# bash completion for realm; load it with: source <(realm completion bash)\n"
      "_realm() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '" +
      join(names, " ") +
      " --help --version' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case \"${COMP_WORDS[1]} $before\" in\n";
  for (const CommandWords& command : commands) {
    std::vector<std::string> free_valued;
    for (const OptionWords& option : command.options) {
      if (!option.takes_value || option.names.empty()) continue;
      std::vector<std::string> patterns;
      for (const std::string& name : option.names) {
        patterns.push_back("'" + command.name + " " + name + "'");
      }
      if (option.choices.empty()) {
        free_valued.insert(free_valued.end(), patterns.begin(), patterns.end());
        continue;
      }
      script += "    " + join(patterns, "|") + ")\n      COMPREPLY=($(compgen -W '" +
                join(option.choices, " ") + "' -- \"$word\")); return ;;\n";
    }
    if (!free_valued.empty()) {
      script += "    " + join(free_valued, "|") +
                ")\n      COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n";
    }
  }
  script += "  esac\n  case ${COMP_WORDS[1]} in\n";
  for (const CommandWords& command : commands) {
    std::vector<std::string> options;
    for (const OptionWords& option : command.options) {
      options.insert(options.end(), option.names.begin(), option.names.end());
    }
    script += "    " + command.name + ")\n      case $word in\n        -*) words='" +
              join(options, " ") + "' ;;\n        *) words='" +
              join(positional_choices(command), " ") + "' ;;\n      esac ;;\n";
  }
  script +=
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "  case $word in -*) ;; *) COMPREPLY+=($(compgen -f -- \"$word\")) ;; esac\n"
      "}\n"
      "complete -o filenames -F _realm realm\n";
  return script;
}

// Inside an _arguments specification brackets and colons end a part.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh(const std::vector<CommandWords>& commands) {
  constexpr const char* kQuote = "'\\''";
  std::string script =
      "#compdef realm\n"
      "# zsh completion for realm; put it as _realm into a folder of $fpath, or: source <(realm "
      "completion zsh)\n"
      "_realm() {\n"
      "  local -a commands\n"
      "  commands=(\n";
  for (const CommandWords& command : commands) {
    script += "    " + single_quoted(command.name + ":" + zsh_text(command.help), kQuote) + "\n";
  }
  script +=
      "  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  local command=$words[2]\n"
      "  shift words; (( CURRENT-- ))\n"
      "  case $command in\n";
  for (const CommandWords& command : commands) {
    script += "    " + command.name + ")\n      _arguments -s";
    for (const OptionWords& option : command.options) {
      const std::string values =
          option.choices.empty() ? "_files" : "(" + join(option.choices, " ") + ")";
      for (const std::string& name : option.names) {
        std::string spec = "*" + name + "[" + zsh_text(option.help) + "]";
        if (option.takes_value) spec += ":value:" + values;
        script += " \\\n        " + single_quoted(spec, kQuote);
      }
      if (option.names.empty() && !option.choices.empty()) {
        script += " \\\n        " + single_quoted(":value:" + values, kQuote);
      }
    }
    script += " \\\n        '*:file:_files' ;;\n";
  }
  script +=
      "  esac\n"
      "}\n"
      "if [ \"$funcstack[1]\" = _realm ]; then _realm \"$@\"; else compdef _realm realm; fi\n";
  return script;
}

std::string fish(const std::vector<CommandWords>& commands) {
  constexpr const char* kQuote = "\\'";
  std::string script =
      "# fish completion for realm; put it into ~/.config/fish/completions/realm.fish\n";
  for (const CommandWords& command : commands) {
    script += "complete -c realm -f -n __fish_use_subcommand -a " + command.name + " -d " +
              single_quoted(command.help, kQuote) + "\n";
    const std::string here = "complete -c realm -n " +
                             single_quoted("__fish_seen_subcommand_from " + command.name, kQuote);
    for (const OptionWords& option : command.options) {
      std::string line = here;
      for (const std::string& name : option.names) {
        line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (option.names.empty() && option.choices.empty()) continue;
      if (option.takes_value && !option.names.empty()) line += " -r";
      if (!option.choices.empty()) {
        line += " -f -a " + single_quoted(join(option.choices, " "), kQuote);
      }
      script += line + " -d " + single_quoted(option.help, kQuote) + "\n";
    }
  }
  return script;
}

}  // namespace

Result<std::string> completion_script(const CLI::App& root, std::string_view shell) {
  const std::vector<CommandWords> commands = commands_of(root);
  if (shell == "bash") return bash(commands);
  if (shell == "zsh") return zsh(commands);
  if (shell == "fish") return fish(commands);
  const std::vector<std::string> known = {"bash", "zsh", "fish"};
  return Error{ErrorCode::kInvalidArgument, "there is no completion for '" + std::string(shell) +
                                                "', only for bash, zsh and fish" +
                                                suggestion(shell, known)};
}

}  // namespace realm
