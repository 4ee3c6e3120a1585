// `realm eval [MODEL] FILE.jsonl`.
#include <CLI/App.hpp>
#include <cstdio>
#include <memory>
#include <optional>

#include "app/commands.h"
#include "app/eval_command.h"
#include "app/interrupt.h"
#include "app/model_settings.h"
#include "app/terminal/progress.h"

namespace realm {

void add_eval(CLI::App& root, Commands& commands);

namespace {

struct Arguments {
  std::string first, second;  // MODEL FILE, or FILE alone
  EvalOptions options;
  bool json = false;
};

Status run(const Settings& settings, Arguments& arguments) {
  const bool has_model = !arguments.second.empty();
  InterruptScope interrupt;
  EvalOptions& options = arguments.options;
  options.model = model_options(settings, has_model ? arguments.first : "");
  options.questions_path = has_model ? arguments.second : arguments.first;
  options.cancel = &interrupt.flag();
  std::optional<Progress> progress;
  options.on_progress = [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace("questions", static_cast<uint64_t>(total));
    progress->update(static_cast<uint64_t>(done));
  };
  const auto report = evaluate(options);
  progress.reset();
  if (!report.ok()) return report.error();
  const std::string out = arguments.json ? report->json() : report->text();
  std::fwrite(out.data(), 1, out.size(), stdout);
  return {};
}

}  // namespace

void add_eval(CLI::App&, Commands& commands) {
  CLI::App* command = commands.add(
      "eval", "Ask a list of questions and score the answers",
      {"realm eval questions.jsonl", "realm eval model.gguf questions.jsonl -n 64 --json"},
      {SettingGroup::kModel});
  auto arguments = std::make_shared<Arguments>();
  EvalOptions& options = arguments->options;
  command->add_option("MODEL", arguments->first, "the model; realm-tiny where only FILE is given")
      ->required();
  command->add_option("FILE", arguments->second, "lines of JSON with messages and expect");
  command->add_option("-n,--max-tokens", options.max_tokens, "end an answer after this many tokens")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command
      ->add_option("-b,--sequences", options.sequences,
                   "answer so many at the same time; changes no answer")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{512}))
      ->capture_default_str();
  command
      ->add_option("--chat-template", options.chat_template,
                   "a built-in's name or a .jinja file in place of the model's own")
      ->type_name("NAME");
  command->add_flag("--json", arguments->json, "print a JSON object");
  commands.on_run(command, [&commands, arguments] { return run(commands.settings(), *arguments); });
}

}  // namespace realm
