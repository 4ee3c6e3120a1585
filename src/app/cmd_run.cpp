// `realm run [MODEL] [PROMPT]`: answers one prompt, or chats on a terminal.
#include <unistd.h>

#include <CLI/App.hpp>
#include <cstdio>
#include <memory>
#include <optional>

#include "app/answering.h"
#include "app/commands.h"
#include "app/exit_status.h"
#include "app/interrupt.h"
#include "app/model_loader.h"
#include "app/model_settings.h"
#include "app/terminal/chat.h"
#include "app/terminal/line_editor.h"
#include "app/terminal/style.h"
#include "base/json_writer.h"
#include "text/prompt_template.h"

namespace realm {

void add_run(CLI::App& root, Commands& commands);

namespace {

constexpr size_t kMaxPromptBytes = size_t{64} << 20;

struct RunArguments {
  std::vector<std::string> words;  // [MODEL] [PROMPT]
  std::string system;
  std::string chat_template;
  bool raw = false, stats = false, json = false, ignore_end = false;
};

struct Words {
  std::string model;
  std::optional<std::string> prompt;
};

// One word alone is a model where it looks like one, a prompt for the embedded model where it reads
// like a text.
Words split_words(const std::vector<std::string>& words) {
  Words result;
  if (words.empty()) return result;
  if (words.size() == 1) {
    if (reads_like_text(words[0])) {
      result.prompt = words[0];
    } else {
      result.model = words[0];
    }
    return result;
  }
  result.model = words[0];
  std::string prompt = words[1];
  for (size_t i = 2; i < words.size(); ++i) prompt += " " + words[i];
  result.prompt = prompt;
  return result;
}

Result<std::string> read_stdin() {
  std::string text;
  char buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) {
    text.append(buffer, n);
    if (text.size() > kMaxPromptBytes) {
      return Error{ErrorCode::kInvalidArgument, "the prompt on standard input is longer than " +
                                                    std::to_string(kMaxPromptBytes) + " bytes"};
    }
  }
  if (std::ferror(stdin) != 0) {
    return Error{ErrorCode::kIo, "cannot read the prompt from standard input"};
  }
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

const char* finish_name(FinishReason reason) {
  return reason == FinishReason::kContextFull ? "context" : finish_reason_name(reason);
}

AnswerStats stats_of(const GenerationResult& result) {
  return {.finish_reason = finish_name(result.finish),
          .prompt_tokens = result.prompt_tokens,
          .cached_tokens = result.cached_tokens,
          .generated_tokens = result.generated_tokens,
          .prefill_seconds = result.prefill_seconds,
          .decode_seconds = result.decode_seconds};
}

Status write_out(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return Error{ErrorCode::kIo, "cannot write to standard output"};
  }
  return {};
}

Result<std::vector<Token>> chat_prompt(const LoadedModel& model, const PromptTemplate& prompts,
                                       std::span<const ChatMessage> messages) {
  return encode_prompt(*model.tokenizer, TRY(prompts.render(messages_json(messages))));
}

Result<AnswerOptions> answer_options(const Settings& settings) {
  AnswerOptions options;
  options.sampling = TRY(sampling_params(settings));
  options.max_tokens = settings.find_int("max-tokens").value_or(-1);
  options.stop = settings.get_list("stop");
  return options;
}

Status run_once(Answering& answering, const RunArguments& arguments, const AnswerOptions& options,
                const std::string& prompt, const InterruptScope& interrupt) {
  const LoadedModel& model = answering.model();
  AnswerRequest request{.prompt = {},
                        .sampling = options.sampling,
                        .max_tokens = options.max_tokens,
                        .stop = options.stop,
                        .ignore_end = arguments.ignore_end,
                        .cancel = &interrupt.flag()};
  if (arguments.raw) {
    request.prompt = TRY(model.tokenizer->encode(prompt, {.parse_special = true}));
  } else {
    const PromptTemplate prompts =
        TRY(PromptTemplate::create(*model.file, *model.tokenizer, arguments.chat_template));
    const Conversation conversation{
        .system = arguments.system, .messages = {{"user", prompt}}, .options = {}};
    request.prompt = TRY(chat_prompt(model, prompts, conversation.all_messages()));
  }
  std::string text;
  Status written;
  const bool on_terminal = is_terminal(stdout);
  const GenerationResult result = TRY(answering.answer(request, [&](std::string_view piece) {
    text += piece;
    if (arguments.json || !written.ok()) return;
    written = write_out(on_terminal ? without_controls(piece) : std::string(piece));
  }));
  TRY(written);
  const AnswerStats stats = stats_of(result);
  if (arguments.json) {
    JsonWriter json;
    json.begin_object()
        .text("model", model.label)
        .text("text", text)
        .text("finish_reason", stats.finish_reason)
        .integer("prompt_tokens", stats.prompt_tokens)
        .integer("cached_tokens", stats.cached_tokens)
        .integer("generated_tokens", stats.generated_tokens)
        .number("prefill_seconds", stats.prefill_seconds)
        .number("decode_seconds", stats.decode_seconds)
        .end_object();
    TRY(write_out(json.line()));
  } else {
    TRY(write_out("\n"));
  }
  if (arguments.stats) std::fprintf(stderr, "%s\n", describe_stats(stats).c_str());
  if (result.finish == FinishReason::kContextFull && !arguments.json) {
    std::fprintf(stderr,
                 "realm: the answer ends here: the context of %lld tokens is full (--ctx)\n",
                 static_cast<long long>(answering.engine().options().context));
  }
  return result.finish == FinishReason::kCancelled ? interrupt.check() : Status{};
}

Status run_terminal_chat(Answering& answering, const RunArguments& arguments,
                         const AnswerOptions& options, InterruptScope& interrupt) {
  const LoadedModel& model = answering.model();
  const PromptTemplate prompts =
      TRY(PromptTemplate::create(*model.file, *model.tokenizer, arguments.chat_template));
  const bool color = wants_color(stdout);
  const auto editor = TRY(LineEditor::create(interrupt, default_history_path(), color));
  const ChatBackend backend{
      .answer = [&](std::span<const ChatMessage> messages, const AnswerOptions& chosen,
                    const std::function<void(std::string_view)>& on_text,
                    const std::atomic<bool>& stop_flag) -> Result<AnswerStats> {
        const AnswerRequest request{.prompt = TRY(chat_prompt(model, prompts, messages)),
                                    .sampling = chosen.sampling,
                                    .max_tokens = chosen.max_tokens,
                                    .stop = chosen.stop,
                                    .cancel = &stop_flag};
        return stats_of(TRY(answering.answer(request, on_text)));
      },
      .model_name = model.label,
      .context_tokens = answering.engine().options().context,
  };
  const ChatTerminal terminal{
      .read_line = [&](std::string_view prompt) { return editor->read_line(prompt); },
      .write =
          [](std::string_view text) {
            std::fwrite(text.data(), 1, text.size(), stdout);
            std::fflush(stdout);
          },
      .stop_flag = &interrupt.flag(),
      .settle = [&] { interrupt.clear(); },
      .ending = [&] { return interrupt.is_termination(); },
      .color = color,
  };
  run_chat(backend, terminal, {.system = arguments.system, .messages = {}, .options = options},
           {.show_stats = arguments.stats});
  return {};
}

Status run(const Settings& settings, const RunArguments& arguments) {
  Words words = split_words(arguments.words);
  const bool interactive = !words.prompt && ::isatty(STDIN_FILENO) != 0;
  if (interactive && (arguments.raw || arguments.json)) {
    return Error{ErrorCode::kInvalidArgument,
                 "--raw and --json need a prompt, as an argument or on standard input"};
  }
  InterruptScope interrupt(interactive ? InterruptScope::Second::kIgnored
                                       : InterruptScope::Second::kEnds);
  const AnswerOptions options = TRY(answer_options(settings));
  if (!interactive && !words.prompt) words.prompt = TRY(read_stdin());
  if (!interactive && words.prompt->empty()) {
    std::string why = "the prompt is empty";
    if (arguments.words.size() == 1 && !words.model.empty()) {
      why += " ('" + words.model + "' is the model; a prompt of one word comes after its model)";
    }
    return Error{ErrorCode::kInvalidArgument, why};
  }
  const LoadedModel model = TRY(load_for_running(model_options(settings, words.model)));
  const auto answering = TRY(Answering::create(model));
  return interactive ? run_terminal_chat(*answering, arguments, options, interrupt)
                     : run_once(*answering, arguments, options, *words.prompt, interrupt);
}

}  // namespace

void add_run(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("run", "Answer a prompt, or chat",
                   {"realm run \"What is the capital of France?\"", "realm run model.gguf",
                    "realm run model.gguf \"Write a haiku\" --temperature 0 --stats",
                    "cat question.txt | realm run model.gguf --system \"Be brief\""},
                   {SettingGroup::kModel, SettingGroup::kGeneration, SettingGroup::kSampling});
  auto arguments = std::make_shared<RunArguments>();
  command
      ->add_option("WORDS", arguments->words,
                   "[MODEL] [PROMPT]: without PROMPT it is read from a pipe, or a chat begins; "
                   "without MODEL the embedded realm-tiny answers")
      ->type_name("");
  command->add_option("--system", arguments->system, "the system prompt")->type_name("TEXT");
  command
      ->add_option("--chat-template", arguments->chat_template,
                   "a built-in template by name, or a .jinja file, in place of the model's own")
      ->type_name("NAME");
  command->add_flag("--raw", arguments->raw, "continue the prompt as it is, without a template");
  command->add_flag("--ignore-eos", arguments->ignore_end, "go on past the model's end tokens");
  command->add_flag("--stats", arguments->stats, "tokens and speed, on stderr");
  command->add_flag("--json", arguments->json, "print a JSON object");
  commands.on_run(command, [&commands, arguments] { return run(commands.settings(), *arguments); });
}

}  // namespace realm
