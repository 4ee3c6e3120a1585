// `realm synth OUT --preset NAME --type T`: a model of a real shape with random weights.
#include <CLI/App.hpp>
#include <memory>
#include <optional>

#include "app/commands.h"
#include "app/synth.h"
#include "app/terminal/progress.h"

namespace realm {

void add_synth(CLI::App& root, Commands& commands);

void add_synth(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("synth", "Write a model of a real shape with random weights, to bench with",
                   {"realm synth tiny.gguf --preset tinyllama --type Q4_K_M",
                    "realm synth 8b.gguf --preset llama-8b --type Q8_0 --layers 4"});
  auto options = std::make_shared<SynthOptions>();
  command->add_option("OUT", options->output, "the GGUF file to write")->type_name("")->required();
  command
      ->add_option("--preset", options->preset,
                   "shape: tinyllama, llama-1b, llama-8b, llama-70b, qwen3-0.6b, qwen3-1.7b, "
                   "qwen3-4b, qwen3-8b, qwen3-30b-a3b")
      ->type_name("NAME")
      ->required();
  command
      ->add_option("--type", options->type, "type of the weights, as `realm quantize` names them")
      ->type_name("TYPE")
      ->capture_default_str();
  command->add_option("--layers", options->layers, "fewer or more layers than the preset's")
      ->type_name("N");
  command->add_option("--seed", options->seed, "of the random weights")->type_name("N");
  commands.on_run(command, [options] {
    std::optional<Progress> progress;
    options->on_progress = [&](size_t index, size_t count) {
      if (!progress) progress.emplace("writing", count);
      progress->update(index);
    };
    return run_synth(*options);
  });
}

}  // namespace realm
