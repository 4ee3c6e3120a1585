#include "app/terminal/chat.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <deque>

namespace realm {
namespace {

// A chat with scripted lines and a model that repeats the last question and counts the messages.
struct Scripted {
  std::deque<LineRead> lines;
  std::string screen;
  std::atomic<bool> stop_flag{false};
  bool ending = false;
  int settled = 0;
  std::vector<AnswerOptions> asked;
  std::vector<std::vector<ChatMessage>> conversations;
  std::vector<std::string> prompts;
  std::function<Result<AnswerStats>()> outcome = [] {
    return AnswerStats{.finish_reason = "stop"};
  };
  std::string answer_text;  // in place of the echo
  ChatSettings settings;

  void type(const std::string& line) { lines.push_back({LineRead::Kind::kLine, line}); }
  void interrupt(const std::string& typed = "") {
    lines.push_back({LineRead::Kind::kInterrupted, typed});
  }

  void run(Conversation conversation = {}) {
    ChatBackend backend;
    backend.model_name = "echo";
    backend.context_tokens = 100;
    backend.answer = [&](std::span<const ChatMessage> messages, const AnswerOptions& options,
                         const std::function<void(std::string_view)>& on_text,
                         const std::atomic<bool>&) {
      conversations.emplace_back(messages.begin(), messages.end());
      asked.push_back(options);
      on_text(answer_text.empty() ? "Re: " + messages.back().content : answer_text);
      return outcome();
    };
    ChatTerminal terminal;
    terminal.read_line = [&](std::string_view prompt) -> LineRead {
      prompts.emplace_back(prompt);
      if (lines.empty()) return {LineRead::Kind::kEnd, {}};
      LineRead line = lines.front();
      lines.pop_front();
      return line;
    };
    terminal.write = [&](std::string_view text) { screen += text; };
    terminal.stop_flag = &stop_flag;
    terminal.settle = [&] { ++settled; };
    terminal.ending = [&] { return ending; };
    run_chat(backend, terminal, std::move(conversation), settings);
  }
  bool shows(const std::string& text) const { return screen.find(text) != std::string::npos; }
};

TEST(Chat, RemembersTheConversation) {
  Scripted chat;
  chat.type("one");
  chat.type("  ");
  chat.type("two");
  chat.run();
  ASSERT_EQ(chat.conversations.size(), 2u);
  ASSERT_EQ(chat.conversations[1].size(), 3u);
  EXPECT_EQ(chat.conversations[1][0].content, "one");
  EXPECT_EQ(chat.conversations[1][1].role, "assistant");
  EXPECT_EQ(chat.conversations[1][1].content, "Re: one");
  EXPECT_EQ(chat.conversations[1][2].content, "two");
  EXPECT_TRUE(chat.shows("Re: one\n"));
  EXPECT_TRUE(chat.screen.ends_with("\n"));
}

TEST(Chat, SystemClearAndMultipleLines) {
  Scripted chat;
  chat.type("/system  Be kind. ");
  chat.type("first\\");
  chat.type("second");
  chat.type("/clear");
  chat.type("\"\"\"");
  chat.type("/not a command");
  chat.type("\"\"\"");
  chat.type("/usr/bin\\");
  chat.type("is a path");
  chat.run();
  ASSERT_EQ(chat.conversations.size(), 2u);
  ASSERT_EQ(chat.conversations[0].size(), 2u);
  EXPECT_EQ(chat.conversations[0][0].content, "Be kind.");
  EXPECT_EQ(chat.conversations[0][1].content, "first\nsecond");
  EXPECT_EQ(chat.conversations[1].back().content, "/usr/bin\nis a path");
  EXPECT_EQ(chat.conversations[1].size(), 2u) << "the conversation was cleared";
  EXPECT_EQ(chat.prompts[2], "... ");
  EXPECT_TRUE(chat.shows("there is no command '/not'"));
}

TEST(Chat, SettingsAndSeeds) {
  Scripted chat;
  Conversation start;
  start.options.sampling.seed = 10;
  chat.type("/set temperature 0.25");
  chat.type("/set temperature hot");
  chat.type("/set top_q 1");
  chat.type("/set");
  chat.type("a");
  chat.type("/regenerate");
  chat.type("/show");
  chat.run(start);
  EXPECT_TRUE(chat.shows("temperature must be a number, not 'hot'"));
  EXPECT_TRUE(chat.shows("did you mean 'top_k' or 'top_p'?")) << chat.screen;
  EXPECT_TRUE(chat.shows("/set needs a name and a value"));
  EXPECT_TRUE(chat.shows("temperature 0.25\n"));
  ASSERT_EQ(chat.asked.size(), 2u);
  EXPECT_EQ(chat.asked[0].sampling.temperature, 0.25f);
  EXPECT_EQ(chat.asked[0].sampling.seed, 10u);
  EXPECT_EQ(chat.asked[1].sampling.seed, 11u) << "another answer needs other randomness";
  EXPECT_EQ(chat.conversations[1].size(), 1u) << "the old answer is gone";
}

TEST(Chat, ProblemsDoNotEndTheChat) {
  Scripted chat;
  chat.outcome = [] { return Error{ErrorCode::kExhausted, "too long for the context"}; };
  chat.type("/hlp");
  chat.type("/clear all");
  chat.type("/regenerate");
  chat.type("/save");
  chat.type("/load /nonexistent/file");
  chat.type("question");
  chat.type("again");
  chat.run();
  EXPECT_TRUE(chat.shows("there is no command '/hlp'; did you mean '/help'?"));
  EXPECT_TRUE(chat.shows("/clear takes nothing behind it"));
  EXPECT_TRUE(chat.shows("there is no question yet"));
  EXPECT_TRUE(chat.shows("/save needs the name of a file"));
  EXPECT_TRUE(chat.shows("/nonexistent/file"));
  EXPECT_TRUE(chat.shows("too long for the context"));
  ASSERT_EQ(chat.conversations.size(), 2u);
  EXPECT_EQ(chat.conversations[1].size(), 1u) << "a failed question is taken back";
}

TEST(Chat, InterruptsAndEndings) {
  Scripted chat;
  chat.interrupt();
  chat.type("\"\"\"begun");
  chat.interrupt("half");
  chat.type("whole");
  chat.outcome = [] { return AnswerStats{.finish_reason = "cancelled"}; };
  chat.type("/bye");
  chat.type("never");
  chat.run();
  EXPECT_TRUE(chat.shows("Ctrl-D or /bye leaves"));
  ASSERT_EQ(chat.conversations.size(), 1u);
  EXPECT_EQ(chat.conversations[0].back().content, "whole");
  EXPECT_EQ(chat.settled, 3);
  EXPECT_EQ(chat.lines.size(), 1u) << "/bye leaves";

  Scripted asked_to_end;
  asked_to_end.ending = true;
  asked_to_end.type("never");
  asked_to_end.run();
  EXPECT_TRUE(asked_to_end.conversations.empty());
}

TEST(Chat, FinishReasonsAndStats) {
  Scripted chat;
  chat.settings.show_stats = true;
  chat.outcome = [] {
    return AnswerStats{.finish_reason = "context",
                       .prompt_tokens = 60,
                       .cached_tokens = 10,
                       .generated_tokens = 30,
                       .prefill_seconds = 0.5,
                       .decode_seconds = 2.0};
  };
  chat.type("a");
  chat.run();
  EXPECT_TRUE(chat.shows("context of 100 tokens is full"));
  EXPECT_TRUE(chat.shows("30 tokens, 15.0 tok/s; prompt 60 tokens (10 cached), 100.0 tok/s"));
}

TEST(Chat, ModelsTextCannotSteerTheTerminal) {
  Scripted chat;
  chat.answer_text = "\x1b]0;title\x07 plain";
  chat.type("a");
  chat.type("b");
  chat.run();
  EXPECT_EQ(chat.screen.find('\x1b'), std::string::npos);
  EXPECT_TRUE(chat.shows("]0;title plain\n"));
  EXPECT_EQ(chat.conversations[1][1].content, chat.answer_text) << "the model sees its own words";
}

TEST(Chat, SaveAndLoad) {
  const std::string path = testing::TempDir() + "realm-chat-" + std::to_string(::getpid());
  Scripted first;
  first.type("remember me");
  first.type("/save " + path);
  first.run();
  EXPECT_TRUE(first.shows("Saved to " + path));
  Scripted second;
  second.type("/load " + path);
  second.type("more");
  second.run();
  std::remove(path.c_str());
  ASSERT_EQ(second.conversations.size(), 1u);
  ASSERT_EQ(second.conversations[0].size(), 3u);
  EXPECT_EQ(second.conversations[0][0].content, "remember me");
}

TEST(Chat, HelpListsEveryCommand) {
  Scripted chat;
  chat.type("/help");
  chat.run();
  for (const char* command : {"/help", "/clear", "/system TEXT", "/set NAME VALUE", "/show",
                              "/save FILE", "/load FILE", "/regenerate", "/bye"}) {
    EXPECT_TRUE(chat.shows(command)) << command;
  }
}

}  // namespace
}  // namespace realm
