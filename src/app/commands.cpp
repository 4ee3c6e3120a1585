#include "app/commands.h"

#include <CLI/App.hpp>

#include "base/check.h"

namespace realm {

void add_logits(CLI::App& root, Commands& commands);
void add_perplexity(CLI::App& root, Commands& commands);
void add_completion(CLI::App& root, Commands& commands);

namespace {

using AddCommand = void (*)(CLI::App&, Commands&);
constexpr AddCommand kCommands[] = {
    add_logits,
    add_perplexity,
    add_completion,
};

}  // namespace

CLI::App* Commands::add(const std::string& name, const std::string& help,
                        std::initializer_list<const char*> examples,
                        std::initializer_list<SettingGroup> groups) {
  CHECK(examples.size() >= 2);
  CLI::App* command = root_.add_subcommand(name, help);
  std::string footer = "Examples:";
  for (const char* example : examples) footer += std::string("\n  ") + example;
  command->footer(footer);
  settings_.add_options(*command, groups);
  settings_.add_options(*command, {SettingGroup::kGeneral});
  return command;
}

void Commands::on_run(CLI::App* command, std::function<Status()> body) {
  command->callback([this, body = std::move(body)] { chosen_ = body; });
}

CLI::Option* Commands::add_words(CLI::App* command, const std::string& name,
                                 std::vector<std::string>& words, const std::string& help) {
  return command->add_option(name, words, help)->allow_extra_args(false)->type_name("");
}

void add_commands(CLI::App& root, Commands& commands) {
  for (const AddCommand add : kCommands) add(root, commands);
}

}  // namespace realm
