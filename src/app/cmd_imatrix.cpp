// `realm imatrix [MODEL] -f TEXT -o FILE`.
#include <CLI/App.hpp>
#include <cstdio>
#include <memory>
#include <optional>

#include "app/commands.h"
#include "app/imatrix_command.h"
#include "app/interrupt.h"
#include "app/model_settings.h"
#include "app/terminal/progress.h"

namespace realm {

void add_imatrix(CLI::App& root, Commands& commands);

void add_imatrix(CLI::App&, Commands& commands) {
  CLI::App* command = commands.add(
      "imatrix", "Note what a model's inputs look like on a text, for quantize",
      {"realm imatrix model-f16.gguf -f calibration.txt -o model.imatrix",
       "realm imatrix model-f16.gguf -f dialogues.txt --special --ctx 1024 -o model.imatrix"},
      {SettingGroup::kModel});
  struct Arguments {
    std::string model;
    ImatrixOptions options;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  ImatrixOptions& options = arguments->options;
  command->add_option("MODEL", arguments->model, "the model; realm-tiny unless given");
  command->add_option("-f,--file", options.text_path, "the text")->type_name("FILE")->required();
  command->add_option("-o,--output", options.output, "the file to write")
      ->type_name("FILE")
      ->required();
  command->add_flag("--special", options.parse_special,
                    "read special tokens written out in the text as such");
  command->add_flag("--json", arguments->json, "print a JSON object");
  commands.on_run(command, [&commands, arguments]() -> Status {
    InterruptScope interrupt;
    ImatrixOptions& run = arguments->options;
    run.model = model_options(commands.settings(), arguments->model);
    run.cancel = &interrupt.flag();
    std::optional<Progress> progress;
    run.on_progress = [&](int64_t done, int64_t windows) {
      if (!progress) progress.emplace("windows", static_cast<uint64_t>(windows));
      progress->update(static_cast<uint64_t>(done));
    };
    const auto report = make_imatrix(run);
    progress.reset();
    if (!report.ok()) return report.error();
    const std::string text = arguments->json ? report->json() : report->text();
    std::fwrite(text.data(), 1, text.size(), arguments->json ? stdout : stderr);
    return {};
  });
}

}  // namespace realm
