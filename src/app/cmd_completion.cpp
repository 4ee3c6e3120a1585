// `realm completion SHELL`: prints the completion script.
#include <CLI/App.hpp>
#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/completion.h"

namespace realm {

void add_completion(CLI::App& root, Commands& commands);

void add_completion(CLI::App& root, Commands& commands) {
  CLI::App* command = commands.add(
      "completion", "Print the completion script of a shell",
      {"source <(realm completion bash)", "realm completion zsh > \"${fpath[1]}/_realm\"",
       "realm completion fish > ~/.config/fish/completions/realm.fish"});
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "the shell")->type_name("{bash,zsh,fish}")->required();
  commands.on_run(command, [&root, shell]() -> Status {
    const std::string script = TRY(completion_script(root, *shell));
    std::fwrite(script.data(), 1, script.size(), stdout);
    return {};
  });
}

}  // namespace realm
