// `realm inspect [MODEL]`: what a model file holds and needs.
#include <CLI/App.hpp>
#include <memory>

#include "app/commands.h"
#include "app/inspect.h"

namespace realm {

void add_inspect(CLI::App& root, Commands& commands);

void add_inspect(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("inspect", "Show what a model file holds and what it needs",
                   {"realm inspect model.gguf",
                    "realm inspect model.gguf --tensors --ctx 32768 --kv-type q8_0"});
  auto options = std::make_shared<InspectOptions>();
  command->add_option("MODEL", options->model, "the model; realm-tiny unless given");
  command->add_flag("--tensors", options->tensors, "list every tensor");
  command->add_option("-c,--ctx", options->context, "context length of the memory estimate")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command
      ->add_option("--kv-type", options->kv_type,
                   "type of the KV cache: f32, f16, bf16, q8_0 or fp8")
      ->type_name("TYPE");
  command->add_flag("--json", options->json, "print a JSON object");
  commands.on_run(command, [options] { return run_inspect(*options); });
}

}  // namespace realm
