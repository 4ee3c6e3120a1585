// `realm template [MODEL]`: prints the rendered prompt.
#include <CLI/App.hpp>
#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/template.h"

namespace realm {

void add_template(CLI::App& root, Commands& commands);

void add_template(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("template", "Print the prompt that the chat template makes of a conversation",
                   {"realm template --messages chat.json",
                    "realm template model.gguf --messages chat.json --tools tools.json --set "
                    "enable_thinking=false"});
  auto options = std::make_shared<TemplateOptions>();
  command->add_option("MODEL", options->model, "GGUF file or Hugging Face folder");
  command->add_option("--file", options->file, "a Jinja file instead of the model's own template")
      ->type_name("T.jinja");
  command
      ->add_option("--messages", options->messages, "JSON list of messages ('-': standard input)")
      ->type_name("M.json")
      ->required();
  command->add_option("--tools", options->tools, "JSON list of tools")->type_name("T.json");
  command->add_flag_callback(
      "--no-generation-prompt", [options] { options->add_generation_prompt = false; },
      "do not open the assistant's answer");
  command->add_option("--set", options->set, "a variable of the template (repeatable)")
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  commands.on_run(command, [options]() -> Status {
    const std::string prompt = TRY(run_template(*options));
    std::fwrite(prompt.data(), 1, prompt.size(), stdout);
    return {};
  });
}

}  // namespace realm
