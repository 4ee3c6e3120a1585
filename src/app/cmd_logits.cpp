// `realm logits [MODEL] --tokens IDS -o FILE`.
#include <CLI/App.hpp>
#include <memory>

#include "app/commands.h"
#include "app/interrupt.h"
#include "app/logits_command.h"
#include "app/model_settings.h"
#include "app/token_list.h"

namespace realm {

void add_logits(CLI::App& root, Commands& commands);

namespace {

struct Arguments {
  std::string model, tokens, tokens_file;
  LogitsOptions options;
};

Result<std::vector<Token>> given_tokens(const Arguments& arguments) {
  if (!arguments.tokens_file.empty()) return read_token_file(arguments.tokens_file);
  return parse_token_list(arguments.tokens, "--tokens");
}

}  // namespace

void add_logits(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("logits", "Write the raw logits of given token ids to a file",
                   {"realm logits model.gguf --tokens 1,2,3 --kv-type f32 -o logits.f32",
                    "realm logits model.gguf --tokens-file ids.json --chunk 64 -o logits.f32"},
                   {SettingGroup::kModel});
  auto arguments = std::make_shared<Arguments>();
  LogitsOptions& options = arguments->options;
  command->add_option("MODEL", arguments->model, "the model; realm-tiny unless given");
  CLI::Option* tokens = command->add_option("--tokens", arguments->tokens, "token ids, as they are")
                            ->type_name("IDS");
  CLI::Option* file =
      command->add_option("--tokens-file", arguments->tokens_file, "a JSON list of token ids")
          ->type_name("FILE");
  file->excludes(tokens);
  command->add_option("-o,--output", options.output, "float32, little-endian, [tokens, vocab]")
      ->type_name("FILE")
      ->required();
  command->add_option("--chunk", options.chunk, "tokens a step; the result is the same")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}));
  commands.on_run(command, [&commands, arguments, tokens, file]() -> Status {
    if (tokens->count() + file->count() == 0) {
      return Error{ErrorCode::kInvalidArgument, "'realm logits' needs --tokens or --tokens-file"};
    }
    InterruptScope interrupt;
    LogitsOptions& run = arguments->options;
    run.tokens = TRY(given_tokens(*arguments));
    run.model = model_options(commands.settings(), arguments->model);
    run.cancel = &interrupt.flag();
    return write_logits(run);
  });
}

}  // namespace realm
