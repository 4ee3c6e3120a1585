#include "app/terminal/chat.h"

#include <algorithm>
#include <cstdio>

#include "app/nearest.h"
#include "app/terminal/message_lines.h"
#include "app/terminal/style.h"

namespace realm {
namespace {

class Chat {
 public:
  Chat(const ChatBackend& backend, const ChatTerminal& terminal, Conversation conversation,
       const ChatSettings& settings)
      : backend_(backend),
        terminal_(terminal),
        settings_(settings),
        conversation_(std::move(conversation)) {}

  void run();

  void show_help(std::string_view argument);
  void clear(std::string_view argument);
  void set_system(std::string_view argument);
  void set(std::string_view argument);
  void show(std::string_view argument);
  void save(std::string_view argument);
  void load(std::string_view argument);
  void regenerate(std::string_view argument);
  void leave(std::string_view) { done_ = true; }

 private:
  std::optional<std::string> read_message();
  void handle(const std::string& message);
  void handle_command(std::string_view line);
  void answer();
  void note(std::string_view text);
  void problem(const Error& error);

  const ChatBackend& backend_;
  const ChatTerminal& terminal_;
  const ChatSettings& settings_;
  Conversation conversation_;
  uint64_t num_answers_ = 0;
  bool done_ = false;
};

struct ChatCommand {
  std::string_view name;
  std::string_view argument;  // as help shows it; empty: takes none
  std::string_view help;
  void (Chat::*run)(std::string_view argument);
};

constexpr ChatCommand kCommands[] = {
    {"/help", "", "show this list", &Chat::show_help},
    {"/clear", "", "forget the conversation; the system prompt stays", &Chat::clear},
    {"/system", "TEXT", "set the system prompt (without TEXT: none) and start anew",
     &Chat::set_system},
    {"/set", "NAME VALUE", "change a setting such as temperature, seed or max_tokens", &Chat::set},
    {"/show", "", "show the model, the settings and the length of the conversation", &Chat::show},
    {"/save", "FILE", "save the conversation with its settings", &Chat::save},
    {"/load", "FILE", "go on with a saved conversation", &Chat::load},
    {"/regenerate", "", "answer the last question again", &Chat::regenerate},
    {"/bye", "", "leave, as Ctrl-D does", &Chat::leave},
};

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

void Chat::run() {
  note("Chatting with " + backend_.model_name + ". /help lists the commands, Ctrl-D leaves.");
  while (!done_) {
    const std::optional<std::string> message = read_message();
    if (!message) {
      terminal_.write("\n");
      return;
    }
    handle(*message);
  }
}

// Empty at the end of input.
std::optional<std::string> Chat::read_message() {
  MessageLines lines;
  while (!terminal_.ending()) {
    const LineRead read = terminal_.read_line(lines.unfinished() ? "... " : ">>> ");
    switch (read.kind) {
      case LineRead::Kind::kEnd:
        return std::nullopt;
      case LineRead::Kind::kInterrupted:
        terminal_.settle();
        if (!lines.unfinished() && read.text.empty()) {
          note("Ctrl-C stops an answer; Ctrl-D or /bye leaves.");
        }
        lines.reset();
        break;
      case LineRead::Kind::kLine:
        if (auto message = lines.push(read.text)) return message;
        break;
    }
  }
  return std::nullopt;
}

void Chat::handle(const std::string& message) {
  const std::string_view text = trim(message);
  if (text.empty()) return;
  // A message of several lines may well begin with a path.
  if (text.front() == '/' && text.find('\n') == std::string_view::npos) {
    handle_command(text);
    return;
  }
  conversation_.messages.push_back({"user", message});
  answer();
}

void Chat::handle_command(std::string_view line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view name = line.substr(0, end), argument = trim(line.substr(end));
  for (const ChatCommand& command : kCommands) {
    if (command.name != name) continue;
    if (command.argument.empty() && !argument.empty()) {
      problem({ErrorCode::kInvalidArgument, std::string(name) + " takes nothing behind it"});
    } else {
      (this->*command.run)(argument);
    }
    return;
  }
  std::vector<std::string> names;
  for (const ChatCommand& command : kCommands) names.emplace_back(command.name);
  const std::string hint = suggestion(name, names);
  problem({ErrorCode::kInvalidArgument, "there is no command '" + std::string(name) + "'" +
                                            (hint.empty() ? "; /help lists them" : hint)});
}

void Chat::answer() {
  AnswerOptions options = conversation_.options;
  // Each answer has randomness of its own, so that asking again gives something else; the whole
  // chat still follows from the one seed.
  options.sampling.seed += num_answers_++;
  std::string text;
  const auto on_text = [&](std::string_view piece) {
    text += piece;
    terminal_.write(without_controls(piece));
  };
  const std::vector<ChatMessage> messages = conversation_.all_messages();
  const auto stats = backend_.answer(messages, options, on_text, *terminal_.stop_flag);
  terminal_.settle();
  if (!text.empty() && text.back() != '\n') terminal_.write("\n");
  if (!stats.ok()) {
    problem(stats.error());
    // The question can be asked again, or changed, as if it had not been.
    conversation_.messages.pop_back();
    return;
  }
  if (stats->finish_reason == "cancelled" && text.empty()) {
    conversation_.messages.pop_back();
    return;
  }
  conversation_.messages.push_back({"assistant", text});
  if (stats->finish_reason == "context") {
    note("The context of " + std::to_string(backend_.context_tokens) +
         " tokens is full; /clear starts anew.");
  } else if (stats->finish_reason == "length") {
    note("The answer was cut at max_tokens.");
  }
  if (settings_.show_stats) note(describe_stats(*stats));
}

void Chat::show_help(std::string_view) {
  std::string text;
  for (const ChatCommand& command : kCommands) {
    std::string left = "  " + std::string(command.name) + " " + std::string(command.argument);
    left.resize(std::max<size_t>(left.size() + 1, 22), ' ');
    text += left + std::string(command.help) + "\n";
  }
  text +=
      "A line that ends in \\ goes on in the next; \"\"\" begins and ends a message of many "
      "lines.\n"
      "Ctrl-C stops an answer. Arrows up and down walk through what you typed before.\n";
  terminal_.write(text);
}

void Chat::clear(std::string_view) {
  conversation_.messages.clear();
  note("The conversation is empty.");
}

void Chat::set_system(std::string_view argument) {
  conversation_.system = argument;
  conversation_.messages.clear();
  note(argument.empty() ? "No system prompt; the conversation is empty."
                        : "The system prompt is set; the conversation is empty.");
}

void Chat::set(std::string_view argument) {
  const size_t end = argument.find(' ');
  if (end == std::string_view::npos) {
    problem({ErrorCode::kInvalidArgument,
             "/set needs a name and a value, such as /set temperature 0.5; /show lists them"});
    return;
  }
  const Status set =
      set_option(conversation_.options, argument.substr(0, end), trim(argument.substr(end)));
  if (!set.ok()) problem(set.error());
}

void Chat::show(std::string_view) {
  std::string text = "model " + backend_.model_name + "\ncontext " +
                     std::to_string(backend_.context_tokens) + " tokens\nmessages " +
                     std::to_string(conversation_.messages.size()) + "\n";
  if (!conversation_.system.empty()) text += "system " + conversation_.system + "\n";
  terminal_.write(without_controls(text + describe_options(conversation_.options)));
}

void Chat::save(std::string_view argument) {
  if (argument.empty()) {
    problem({ErrorCode::kInvalidArgument, "/save needs the name of a file"});
    return;
  }
  const Status saved = save_conversation(conversation_, std::string(argument));
  if (!saved.ok()) {
    problem(saved.error());
  } else {
    note("Saved to " + std::string(argument) + ".");
  }
}

void Chat::load(std::string_view argument) {
  if (argument.empty()) {
    problem({ErrorCode::kInvalidArgument, "/load needs the name of a file"});
    return;
  }
  auto loaded = load_conversation(std::string(argument), conversation_.options);
  if (!loaded.ok()) {
    problem(loaded.error());
    return;
  }
  conversation_ = std::move(loaded).value();
  note("Loaded " + std::to_string(conversation_.messages.size()) + " messages.");
}

void Chat::regenerate(std::string_view) {
  auto& messages = conversation_.messages;
  if (messages.empty()) {
    problem({ErrorCode::kInvalidArgument, "there is no question yet to answer again"});
    return;
  }
  if (messages.back().role == "assistant") messages.pop_back();
  if (messages.empty() || messages.back().role != "user") {
    problem({ErrorCode::kInvalidArgument, "the conversation does not end in a question"});
    return;
  }
  answer();
}

void Chat::note(std::string_view text) {
  terminal_.write(styled(without_controls(text), Style::kDim, terminal_.color) + "\n");
}

void Chat::problem(const Error& error) {
  terminal_.write(styled(without_controls(error.message), Style::kRed, terminal_.color) + "\n");
}

}  // namespace

void run_chat(const ChatBackend& backend, const ChatTerminal& terminal, Conversation conversation,
              const ChatSettings& settings) {
  Chat(backend, terminal, std::move(conversation), settings).run();
}

std::string describe_stats(const AnswerStats& stats) {
  const auto speed = [](int64_t tokens, double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f tok/s",
                  seconds > 0.0 ? static_cast<double>(tokens) / seconds : 0.0);
    return std::string(text);
  };
  std::string text = std::to_string(stats.generated_tokens) + " tokens, " +
                     speed(stats.generated_tokens, stats.decode_seconds) + "; prompt " +
                     std::to_string(stats.prompt_tokens) + " tokens";
  if (stats.cached_tokens > 0) text += " (" + std::to_string(stats.cached_tokens) + " cached)";
  return text + ", " + speed(stats.prompt_tokens - stats.cached_tokens, stats.prefill_seconds);
}

}  // namespace realm
