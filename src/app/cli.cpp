#include "app/cli.h"

#include <spdlog/spdlog.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "app/commands.h"
#include "app/exit_status.h"
#include "app/nearest.h"
#include "base/log.h"
#include "base/numa.h"

namespace realm {
namespace {

std::vector<std::string> command_names(const CLI::App& root) {
  std::vector<std::string> names;
  for (const CLI::App* command : root.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

const CLI::App& chosen_command(const CLI::App& root) {
  const auto parsed = root.get_subcommands();
  return parsed.empty() ? root : *parsed.front();
}

// What was given and means nothing to the command, said with the nearest thing that would.
std::string unknown_argument(const CLI::App& command, const CLI::App& root,
                             const std::string& argument) {
  const bool at_root = &command == &root;
  const std::string where = at_root ? "realm" : "realm " + command.get_name();
  const std::string see = "; see '" + where + " --help'";
  if (argument.size() > 1 && argument.front() == '-') {
    const std::string name = argument.substr(0, argument.find('='));
    std::vector<std::string> known;
    for (const CLI::Option* option : command.get_options()) {
      for (const std::string& known_name : option->get_lnames()) known.push_back("--" + known_name);
      for (const std::string& known_name : option->get_snames()) known.push_back("-" + known_name);
    }
    const std::string hint = suggestion(name, known);
    return "unknown option '" + name + "' of '" + where + "'" + (hint.empty() ? see : hint);
  }
  if (!at_root) return "'" + where + "' takes no further argument '" + argument + "'" + see;
  const std::string hint = suggestion(argument, command_names(root));
  return "there is no command '" + argument + "'" + (hint.empty() ? see : hint);
}

std::string usage_problem(const CLI::App& root, const CLI::ParseError& error) {
  const CLI::App& command = chosen_command(root);
  // An unknown option explains a missing one better than the other way round.
  const std::vector<std::string> extras = command.remaining();
  const auto option = std::find_if(extras.begin(), extras.end(), [](const std::string& extra) {
    return extra.size() > 1 && extra.front() == '-';
  });
  if (option != extras.end()) return unknown_argument(command, root, *option);
  if (!extras.empty()) return unknown_argument(command, root, extras.front());
  const std::string where = &command == &root ? "realm" : "realm " + command.get_name();
  return "'" + where + "': " + error.what() + "; see '" + where + " --help'";
}

int finish(const Status& status) {
  if (!status.ok()) {
    print_error(stderr, status.error().message);
    return exit_status(status.error().code);
  }
  // Results that did not arrive are no results.
  errno = 0;
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    print_error(stderr, std::string("cannot write to standard output: ") +
                            (errno != 0 ? std::strerror(errno) : "a write failed"));
    return kExitFailed;
  }
  return kExitDone;
}

Status run_chosen(Commands& commands) {
  TRY(commands.settings().resolve([](const char* name) { return std::getenv(name); }));
  const bool is_json = *commands.settings().find_text("log-format") == "json";
  TRY(init_logging(*commands.settings().find_text("log-level"),
                   is_json ? LogFormat::kJson : LogFormat::kText));
  // Before any thread is started and any model read.
  const std::vector<int> nodes = memory_nodes();
  const Result<MemorySpread> spread = spread_memory(nodes);
  if (!spread.ok()) {
    spdlog::info("{}", spread.error().message);
  } else if (*spread == MemorySpread::kSpread) {
    spdlog::info("memory is spread over {} nodes", nodes.size());
  }
  return commands.chosen()();
}

int parse_and_run(std::vector<std::string> arguments) {
  CLI::App root("Realm runs language models: on this terminal, and for many tenants at once.",
                "realm");
  root.set_version_flag("--version", std::string("realm ") + REALM_VERSION);
  root.require_subcommand(0, 1);
  root.get_formatter()->column_width(34);
  root.footer("'realm COMMAND --help' explains a command.");
  Commands commands(root);
  add_commands(root, commands);

  try {
    commands.parse(std::move(arguments));
  } catch (const CLI::Success& success) {  // --help, --version
    root.exit(success);
    return finish({});
  } catch (const CLI::ParseError& error) {
    return finish(
        Error{ErrorCode::kInvalidArgument, Commands::as_typed(usage_problem(root, error))});
  }
  if (!commands.chosen()) {
    return finish(
        Error{ErrorCode::kInvalidArgument,
              "say what to do, for example 'realm run'; 'realm --help' lists the commands"});
  }
  return finish(run_chosen(commands));
}

}  // namespace

int run_cli(std::vector<std::string> arguments) {
  try {
    return parse_and_run(std::move(arguments));
  } catch (const std::bad_alloc&) {
    return finish(Error{ErrorCode::kExhausted, "there is not enough memory for this"});
  } catch (const std::exception& error) {
    return finish(Error{ErrorCode::kUnavailable, std::string("internal error: ") + error.what()});
  }
}

}  // namespace realm
