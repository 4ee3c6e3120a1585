#include "app/commands.h"

#include <CLI/App.hpp>
#include <algorithm>

#include "base/check.h"

namespace realm {

void add_run(CLI::App& root, Commands& commands);
void add_serve(CLI::App& root, Commands& commands);
void add_bench(CLI::App& root, Commands& commands);
void add_eval(CLI::App& root, Commands& commands);
void add_imatrix(CLI::App& root, Commands& commands);
void add_logits(CLI::App& root, Commands& commands);
void add_perplexity(CLI::App& root, Commands& commands);
void add_quantize(CLI::App& root, Commands& commands);
void add_doctor(CLI::App& root, Commands& commands);
void add_embed(CLI::App& root, Commands& commands);
void add_completion(CLI::App& root, Commands& commands);
void add_convert(CLI::App& root, Commands& commands);
void add_inspect(CLI::App& root, Commands& commands);
void add_tokenize(CLI::App& root, Commands& commands);
void add_detokenize(CLI::App& root, Commands& commands);
void add_synth(CLI::App& root, Commands& commands);
void add_template(CLI::App& root, Commands& commands);
void add_tenants(CLI::App& root, Commands& commands);
void add_keys(CLI::App& root, Commands& commands);
void add_usage(CLI::App& root, Commands& commands);

namespace {

using AddCommand = void (*)(CLI::App&, Commands&);
constexpr AddCommand kCommands[] = {
    add_run,     add_serve,   add_embed,    add_logits,     add_perplexity,
    add_bench,   add_eval,    add_quantize, add_imatrix,    add_convert,
    add_synth,   add_inspect, add_tokenize, add_detokenize, add_template,
    add_tenants, add_keys,    add_usage,    add_doctor,     add_completion,
};

// Goes before a word that CLI11 would misread and comes off again when an option has it; no text
// begins so, being no UTF-8.
constexpr std::string_view kWordMark = "\xff\x01";

// Three habits of CLI11 are not those of other programs: it takes the next argument as the value of
// "--name=", cuts "[1,2]" into pieces where several words are allowed, and forgets "--" once a
// command has its required arguments.
void adapt(std::vector<std::string>& arguments) {
  size_t i = 0;
  for (; i < arguments.size() && arguments[i] != "--"; ++i) {
    std::string& argument = arguments[i];
    if (argument.starts_with('[')) argument.insert(0, kWordMark);
    const bool empty_value = argument.size() > 3 && argument.starts_with("--") &&
                             argument.find('=') == argument.size() - 1;
    if (!empty_value) continue;
    argument.pop_back();
    arguments.insert(arguments.begin() + static_cast<ptrdiff_t>(++i), std::string());
  }
  if (i == arguments.size()) return;
  arguments.erase(arguments.begin() + static_cast<ptrdiff_t>(i));
  for (; i < arguments.size(); ++i) {
    if (arguments[i].find_first_of("-[") == 0) arguments[i].insert(0, kWordMark);
  }
}

std::string without_mark(std::string word) {
  if (word.starts_with(kWordMark)) word.erase(0, kWordMark.size());
  return word;
}

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

std::string Commands::as_typed(std::string text) {
  for (size_t at; (at = text.find(kWordMark)) != std::string::npos;) {
    text.erase(at, kWordMark.size());
  }
  return text;
}

void Commands::parse(std::vector<std::string> arguments) {
  for (CLI::App* command : root_.get_subcommands([](const CLI::App*) { return true; })) {
    for (CLI::Option* option : command->get_options()) {
      if (option->get_items_expected_max() > 0) option->transform(without_mark, "");
    }
  }
  adapt(arguments);
  std::reverse(arguments.begin(), arguments.end());  // the order that CLI11 takes a vector in
  root_.parse(std::move(arguments));
}

void add_commands(CLI::App& root, Commands& commands) {
  for (const AddCommand add : kCommands) add(root, commands);
}

}  // namespace realm
