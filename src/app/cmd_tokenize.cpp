// `realm tokenize [MODEL] [TEXT]` and `realm detokenize [MODEL] ID...`.
#include <sys/stat.h>

#include <CLI/App.hpp>
#include <cstdio>
#include <memory>
#include <utility>

#include "app/commands.h"
#include "app/model_loader.h"
#include "app/tokenize.h"

namespace realm {

void add_tokenize(CLI::App& root, Commands& commands);
void add_detokenize(CLI::App& root, Commands& commands);

namespace {

Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& model) {
  const auto file = TRY(open_model_argument(model));
  auto tokenizer = Tokenizer::create(file->metadata());
  if (!tokenizer.ok()) return tokenizer.error().at(model_label(model));
  return tokenizer;
}

bool is_number(const std::string& word) {
  const size_t start = word.starts_with('-') ? 1 : 0;
  return word.size() > start && word.find_first_not_of("0123456789", start) == std::string::npos;
}

Result<std::vector<int64_t>> parse_ids(const std::vector<std::string>& words) {
  std::vector<int64_t> ids;
  for (const std::string& word : words) {
    if (!is_number(word) || word.size() > 18) {
      return Error{ErrorCode::kInvalidArgument, "'" + word + "' is not a token id"};
    }
    ids.push_back(std::stoll(word));
  }
  return ids;
}

}  // namespace

void add_tokenize(CLI::App&, Commands& commands) {
  CLI::App* command = commands.add(
      "tokenize", "Turn text into token ids",
      {"realm tokenize model.gguf \"Hello world\"", "realm tokenize model.gguf -f book.txt --json",
       "echo -n \"<|im_start|>user\" | realm tokenize model.gguf --special --no-bos"});
  struct Arguments {
    std::string model, text, file;
    TokenizeOptions options;
  };
  auto arguments = std::make_shared<Arguments>();
  command->add_option("MODEL", arguments->model, "the model; realm-tiny unless given");
  CLI::Option* text =
      command->add_option("TEXT", arguments->text, "the text; standard input unless given");
  CLI::Option* file = command->add_option("-f,--file", arguments->file, "read the text from a file")
                          ->type_name("FILE");
  command->add_flag("--special", arguments->options.parse_special,
                    "read special tokens written out in the text as such");
  command->add_flag_callback(
      "--no-bos", [arguments] { arguments->options.add_bos_eos = false; },
      "add no beginning or end tokens");
  command->add_flag("--json", arguments->options.json, "print a JSON list");
  commands.on_run(command, [arguments, text, file]() -> Status {
    if (text->count() > 0) arguments->options.text = arguments->text;
    if (file->count() > 0) arguments->options.file = arguments->file;
    if (text->count() + file->count() == 0 && reads_like_text(arguments->model)) {
      arguments->options.text = std::exchange(arguments->model, {});
    }
    const auto tokenizer = TRY(open_tokenizer(arguments->model));
    return tokenize_command(*tokenizer, arguments->options, stdin, stdout);
  });
}

void add_detokenize(CLI::App&, Commands& commands) {
  CLI::App* command = commands.add(
      "detokenize", "Turn token ids into text",
      {"realm detokenize model.gguf 1 15043 3186", "realm detokenize model.gguf 9906 --json"});
  struct Arguments {
    std::vector<std::string> words;
    DetokenizeOptions options;
  };
  auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("WORDS", arguments->words,
                   "[MODEL] ID...: without MODEL the ids are those of realm-tiny")
      ->type_name("")
      ->required();
  command->add_flag("--json", arguments->options.json, "print a JSON string");
  commands.on_run(command, [arguments]() -> Status {
    std::vector<std::string> ids = arguments->words;
    std::string model;
    struct stat info {};
    if (!is_number(ids[0]) || ::stat(ids[0].c_str(), &info) == 0) {
      model = ids[0];
      ids.erase(ids.begin());
    }
    arguments->options.tokens = TRY(parse_ids(ids));
    const auto tokenizer = TRY(open_tokenizer(model));
    return detokenize_command(*tokenizer, arguments->options, stdout);
  });
}

}  // namespace realm
