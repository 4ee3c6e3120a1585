// The commands and what they share. Each command is a file cmd_<name>.cpp with one function
// add_<name>(CLI::App&, Commands&) that declares its options and gives the body to run; the table
// in commands.cpp lists them in the order of `realm --help`. Adding one: its file and its row.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"

namespace CLI {
class App;
}

namespace realm {

class Commands {
 public:
  explicit Commands(CLI::App& root) : root_(root) {}
  Commands(const Commands&) = delete;
  Commands& operator=(const Commands&) = delete;

  // A subcommand with its line in `realm --help` and the examples its own help ends in (at least
  // two, real ones). It takes the general settings, and those of `groups`.
  CLI::App* add(const std::string& name, const std::string& help,
                std::initializer_list<const char*> examples,
                std::initializer_list<SettingGroup> groups = {});

  // What the command does. Runs after the command line is parsed and the settings are resolved.
  void on_run(CLI::App* command, std::function<Status()> body);

  // `text` of CLI11's without what parse() put before words to keep them whole.
  static std::string as_typed(std::string text);
  // Throws CLI::Error, for which see cli.cpp.
  void parse(std::vector<std::string> arguments);

  CLI::App& root() { return root_; }
  Settings& settings() { return settings_; }
  const Settings& settings() const { return settings_; }
  // The body of the command that the user named; empty where there is none.
  const std::function<Status()>& chosen() const { return chosen_; }

 private:
  CLI::App& root_;
  Settings settings_;
  std::function<Status()> chosen_;
};

// Adds every command of the table.
void add_commands(CLI::App& root, Commands& commands);

}  // namespace realm
