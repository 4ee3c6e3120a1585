// `realm embed MODEL [TEXT...]`.
#include <CLI/App.hpp>
#include <memory>

#include "app/commands.h"
#include "app/embed_command.h"
#include "app/interrupt.h"
#include "app/model_settings.h"
#include "app/token_list.h"

namespace realm {

void add_embed(CLI::App& root, Commands& commands);

void add_embed(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("embed", "Turn texts into vectors",
                   {"realm embed model.gguf \"Hello world\" \"Good night\"",
                    "realm embed model.gguf -f lines.txt --pooling mean > vectors.jsonl"},
                   {SettingGroup::kModel});
  struct Arguments {
    std::string model, file, tokens, pooling;
    EmbedOptions options;
  };
  auto arguments = std::make_shared<Arguments>();
  EmbedOptions& options = arguments->options;
  command->add_option("MODEL", arguments->model, "the model")->required();
  CLI::Option* texts =
      command->add_option("TEXT", options.texts, "the texts; standard input's lines unless given");
  CLI::Option* file =
      command->add_option("-f,--file", arguments->file, "a text a line")->type_name("FILE");
  CLI::Option* tokens = command->add_option("--tokens", arguments->tokens, "token ids, as they are")
                            ->type_name("IDS");
  file->excludes(texts)->excludes(tokens);
  tokens->excludes(texts);
  command
      ->add_option("--pooling", arguments->pooling,
                   "mean, cls or last; the model's own unless given")
      ->type_name("NAME");
  command->add_flag_callback(
      "--no-normalize", [arguments] { arguments->options.normalize = false; },
      "vectors as they come, not at length 1");
  commands.on_run(command, [&commands, arguments, texts, file, tokens]() -> Status {
    InterruptScope interrupt;
    EmbedOptions& run = arguments->options;
    if (!arguments->pooling.empty()) run.pooling = TRY(parse_pooling(arguments->pooling));
    if (tokens->count() > 0) {
      run.tokens = TRY(parse_token_list(arguments->tokens, "--tokens"));
    } else if (file->count() > 0) {
      run.texts = TRY(read_lines(arguments->file, stdin));
    } else if (texts->count() == 0) {
      run.texts = TRY(read_lines("-", stdin));
    }
    run.model = model_options(commands.settings(), arguments->model);
    run.cancel = &interrupt.flag();
    return embed_command(run, stdout);
  });
}

}  // namespace realm
