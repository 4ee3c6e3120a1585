// `realm convert DIR OUT`: a Hugging Face checkpoint or adapter to GGUF.
#include <CLI/App.hpp>
#include <memory>
#include <optional>

#include "app/commands.h"
#include "app/convert.h"
#include "app/terminal/progress.h"

namespace realm {

void add_convert(CLI::App& root, Commands& commands);

void add_convert(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("convert", "Turn a Hugging Face checkpoint or PEFT adapter into a GGUF file",
                   {"realm convert ./Llama-3.2-1B llama.gguf",
                    "realm convert ./Qwen3-0.6B qwen3.gguf --type Q8_0",
                    "realm convert ./my-adapter adapter.gguf --base ./Llama-3.2-1B"});
  auto options = std::make_shared<ConvertOptions>();
  command->add_option("DIR", options->input, "folder of the checkpoint or adapter")
      ->type_name("")
      ->required();
  command->add_option("OUT", options->output, "the GGUF file to write")->type_name("")->required();
  command
      ->add_option("--type", options->type,
                   "type of the weight matrices: auto keeps the checkpoint's (F32, F16, BF16), "
                   "else any type that needs no importance matrix")
      ->type_name("TYPE");
  command
      ->add_option("--base", options->base,
                   "for an adapter: its base model, a folder or a GGUF file")
      ->type_name("MODEL");
  commands.on_run(command, [options] {
    std::optional<Progress> progress;
    options->on_progress = [&](size_t index, size_t count) {
      if (!progress) progress.emplace("converting", count);
      progress->update(index);
    };
    return run_convert(*options);
  });
}

}  // namespace realm
