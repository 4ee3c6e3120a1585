#include "app/cli.h"

#include <gtest/gtest.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "app/commands.h"
#include "app/completion.h"
#include "app/exit_status.h"

namespace realm {
namespace {

struct Outcome {
  int status;
  std::string out, err;
};

Outcome realm_command(std::vector<std::string> arguments) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int status = run_cli(std::move(arguments));
  return {status, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

void expect_wrong(std::vector<std::string> arguments, const std::string& message) {
  const Outcome outcome = realm_command(std::move(arguments));
  EXPECT_EQ(outcome.status, kExitUsage);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "realm: " + message + "\n");
}

TEST(Cli, HelpAndVersion) {
  const Outcome help = realm_command({"--help"});
  EXPECT_EQ(help.status, kExitDone);
  EXPECT_NE(help.out.find("completion"), std::string::npos);
  EXPECT_EQ(help.err, "");
  EXPECT_EQ(realm_command({"--version"}).out.substr(0, 6), "realm ");
}

// Every command's help ends in examples, and each has a line in the list.
TEST(Cli, EveryCommandExplainsItself) {
  CLI::App root("", "realm");
  Commands commands(root);
  add_commands(root, commands);
  for (const CLI::App* command : root.get_subcommands([](const CLI::App*) { return true; })) {
    SCOPED_TRACE(command->get_name());
    EXPECT_FALSE(command->get_description().empty());
    const std::string help = command->help();
    const size_t examples = help.find("Examples:\n");
    ASSERT_NE(examples, std::string::npos);
    size_t count = 0;
    for (size_t at = examples;
         (at = help.find("realm " + command->get_name(), at)) != std::string::npos; ++at) {
      ++count;
    }
    EXPECT_GE(count, 2u);
    for (const CLI::Option* option : command->get_options()) {
      EXPECT_FALSE(option->get_description().empty()) << option->get_name();
    }
  }
}

TEST(Cli, WrongUsage) {
  expect_wrong({}, "say what to do, for example 'realm run'; 'realm --help' lists the commands");
  expect_wrong({"completoin"}, "there is no command 'completoin'; did you mean 'completion'?");
  expect_wrong({"qqqq"}, "there is no command 'qqqq'; see 'realm --help'");
  expect_wrong({"--versoin"}, "unknown option '--versoin' of 'realm'; did you mean '--version'?");
  expect_wrong({"completion"},
               "'realm completion': SHELL is required; see 'realm completion --help'");
  expect_wrong({"completion", "--log-lvel=x"},
               "unknown option '--log-lvel' of 'realm completion'; did you mean '--log-level'?");
  expect_wrong({"completion", "bash", "zsh"},
               "'realm completion' takes no further argument 'zsh'; see 'realm completion --help'");
  expect_wrong({"completion", "bash", "--", "--x"},
               "'realm completion' takes no further argument '--x'; see 'realm completion --help'");
  expect_wrong({"completion", "tcsh"},
               "there is no completion for 'tcsh', only for bash, zsh and fish");
  expect_wrong({"completion", "bash", "--log-level="},
               "--log-level must be one of trace, debug, info, warn, error, off, not ''");
}

TEST(Cli, WordsStayAsTyped) {
  CLI::App root("", "realm");
  Commands commands(root);
  std::vector<std::string> words;
  CLI::App* command = commands.add("say", "Say", {"realm say a", "realm say b"});
  std::string tone;
  command->add_option("TEXT", words, "what to say");
  command->add_option("--tone", tone, "how");
  commands.on_run(command, [] { return Status(); });
  root.require_subcommand(0, 1);
  commands.parse({"say", "[1,2]", "--tone", "[a,b]", "", "say", "--", "--x", "-", "[]", "z"});
  EXPECT_EQ(words, (std::vector<std::string>{"[1,2]", "", "say", "--x", "-", "[]", "z"}));
  EXPECT_EQ(tone, "[a,b]");
  EXPECT_TRUE(commands.chosen());
}

TEST(Cli, ExitStatuses) {
  EXPECT_EQ(exit_status(ErrorCode::kInvalidArgument), 2);
  EXPECT_EQ(exit_status(ErrorCode::kBadModel), 3);
  EXPECT_EQ(exit_status(ErrorCode::kUnsupported), 3);
  EXPECT_EQ(exit_status(ErrorCode::kCancelled), 130);
  for (const ErrorCode code :
       {ErrorCode::kNotFound, ErrorCode::kExhausted, ErrorCode::kUnavailable, ErrorCode::kIo}) {
    EXPECT_EQ(exit_status(code), 1);
  }
}

TEST(Cli, AnErrorIsOneLine) {
  testing::internal::CaptureStderr();
  print_error(stderr, "a\nb\x1b[31m\tc");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "realm: a b?[31m c\n");
}

TEST(Completion, ComesFromTheTree) {
  CLI::App root("", "realm");
  Commands commands(root);
  CLI::App* command =
      commands.add("paint", "Paint: it's [nice]", {"realm paint a", "realm paint b"});
  std::string colour, file;
  bool fast = false;
  command->add_option("--colour,-k", colour, "which")->type_name("{red,blue}");
  command->add_option("--out", file, "where");
  command->add_flag("--fast", fast, "hurry");
  const std::string bash = *completion_script(root, "bash");
  EXPECT_NE(bash.find("compgen -W 'paint --help --version'"), std::string::npos) << bash;
  EXPECT_NE(bash.find("'paint -k'|'paint --colour')"), std::string::npos) << bash;
  EXPECT_NE(bash.find("compgen -W 'red blue'"), std::string::npos) << bash;
  EXPECT_NE(bash.find("--fast"), std::string::npos) << bash;
  EXPECT_EQ(bash.find("'paint --fast'"), std::string::npos) << "a flag takes no value";
  const std::string zsh = *completion_script(root, "zsh");
  EXPECT_NE(zsh.find("'paint:Paint\\: it'\\''s \\[nice\\]'"), std::string::npos) << zsh;
  EXPECT_NE(zsh.find("'*--colour[which]:value:(red blue)'"), std::string::npos) << zsh;
  const std::string fish = *completion_script(root, "fish");
  EXPECT_NE(fish.find("-a paint -d 'Paint: it\\'s [nice]'"), std::string::npos) << fish;
  EXPECT_NE(fish.find("-s k -l colour -r -f -a 'red blue' -d 'which'"), std::string::npos) << fish;
  EXPECT_FALSE(completion_script(root, "tcsh").ok());
}

}  // namespace
}  // namespace realm
