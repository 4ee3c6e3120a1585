// `realm perplexity [MODEL] -f TEXT`.
#include <unistd.h>

#include <CLI/App.hpp>
#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/interrupt.h"
#include "app/model_settings.h"
#include "app/perplexity_command.h"

namespace realm {

void add_perplexity(CLI::App& root, Commands& commands);

namespace {

void show_estimate(const PerplexityProgress& progress) {
  std::fprintf(stderr, "\rwindow %lld of %lld: perplexity %.4f ",
               static_cast<long long>(progress.windows_done),
               static_cast<long long>(progress.windows), progress.perplexity);
  if (progress.windows_done == progress.windows) std::fputc('\n', stderr);
}

}  // namespace

void add_perplexity(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("perplexity", "Measure how well a model predicts a text",
                   {"realm perplexity model.gguf -f wiki.test.raw",
                    "realm perplexity model.gguf -f dialogues.txt --special --ctx 1024 --json"},
                   {SettingGroup::kModel});
  struct Arguments {
    std::string model;
    PerplexityOptions options;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  command->add_option("MODEL", arguments->model, "the model; realm-tiny unless given");
  command->add_option("-f,--file", arguments->options.text_path, "the text")
      ->type_name("FILE")
      ->required();
  command->add_flag("--special", arguments->options.parse_special,
                    "read special tokens written out in the text as such");
  command->add_flag("--json", arguments->json, "print a JSON object");
  commands.on_run(command, [&commands, arguments]() -> Status {
    InterruptScope interrupt;
    PerplexityOptions& options = arguments->options;
    options.model = model_options(commands.settings(), arguments->model);
    options.cancel = &interrupt.flag();
    if (isatty(STDERR_FILENO) != 0) options.on_progress = show_estimate;
    const PerplexityReport report = TRY(measure_perplexity(options));
    const std::string out = arguments->json ? report.json() : report.text();
    std::fwrite(out.data(), 1, out.size(), stdout);
    return {};
  });
}

}  // namespace realm
