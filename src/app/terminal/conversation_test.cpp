#include "app/terminal/conversation.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace realm {
namespace {

struct File {
  std::string path = testing::TempDir() + "realm-conversation-" + std::to_string(::getpid());
  ~File() { std::remove(path.c_str()); }
  void write(const std::string& text) const { std::ofstream(path) << text; }
};

TEST(Conversation, SavedAndLoadedIsTheSame) {
  const File file;
  Conversation saved;
  saved.system = "Be \"brief\".\n";
  saved.messages = {{"user", "héllo 🎈"}, {"assistant", ""}, {"user", "a\tb\\"}};
  saved.options.sampling.temperature = 0.8f;
  saved.options.sampling.top_k = 40;
  saved.options.sampling.seed = ~uint64_t{0};
  saved.options.max_tokens = 17;
  ASSERT_TRUE(save_conversation(saved, file.path).ok());
  const auto loaded = load_conversation(file.path, {});
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->system, saved.system);
  ASSERT_EQ(loaded->messages.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(loaded->messages[i].role, saved.messages[i].role);
    EXPECT_EQ(loaded->messages[i].content, saved.messages[i].content);
  }
  EXPECT_EQ(loaded->options.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(loaded->options.max_tokens, 17);
  for (const SamplingField& field : sampling_fields()) {
    EXPECT_EQ(get_sampling_field(loaded->options.sampling, field),
              get_sampling_field(saved.options.sampling, field))
        << field.name;
  }
}

TEST(Conversation, BadFilesAreRefusedByName) {
  const File file;
  EXPECT_EQ(load_conversation("/nonexistent/x", {}).error().code, ErrorCode::kNotFound);
  for (const char* text :
       {"", "[]", "{", "{}", R"({"messages": 1})", R"({"messages": [1]})",
        R"({"messages": [{"role": "user"}]})", R"({"messages": [{"role": "king", "content": ""}]})",
        R"({"messages": [], "system": 3})", R"({"messages": [], "options": {"top_q": 1}})",
        R"({"messages": [], "options": {"top_p": 2}})",
        R"({"messages": [], "options": {"top_p": "x"}})", R"({"messages": [], "options": []})"}) {
    file.write(text);
    const auto loaded = load_conversation(file.path, {});
    ASSERT_FALSE(loaded.ok()) << text;
    EXPECT_EQ(loaded.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_NE(loaded.error().message.find(file.path), std::string::npos) << text;
  }
}

TEST(Conversation, Options) {
  AnswerOptions options;
  EXPECT_TRUE(set_option(options, "temperature", "0.5").ok());
  EXPECT_TRUE(set_option(options, "top-k", "3").ok());
  EXPECT_TRUE(set_option(options, "repetition_penalty", "1.5").ok());
  EXPECT_TRUE(set_option(options, "seed", "18446744073709551615").ok());
  EXPECT_TRUE(set_option(options, "max_tokens", "-1").ok());
  EXPECT_EQ(options.sampling.temperature, 0.5f);
  EXPECT_EQ(options.sampling.top_k, 3);
  EXPECT_EQ(options.sampling.repeat_penalty, 1.5f);
  EXPECT_EQ(options.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(describe_options(options),
            "seed 18446744073709551615\nmax_tokens -1\ntemperature 0.5\ntop_k 3\n"
            "repeat_penalty 1.5\n");
  EXPECT_EQ(set_option(options, "temprature", "1").error().message,
            "there is no setting 'temprature'; did you mean 'temperature'?");
  for (const char* bad : {"", "x", "1x", "-1", "nan", "1e9"}) {
    EXPECT_FALSE(set_option(options, "temperature", bad).ok()) << bad;
  }
  EXPECT_FALSE(set_option(options, "seed", "-1").ok());
  EXPECT_FALSE(set_option(options, "max_tokens", "-2").ok());
  EXPECT_EQ(options.sampling.temperature, 0.5f);
}

TEST(Conversation, MessagesForTheTemplate) {
  Conversation conversation;
  conversation.messages = {{"user", "a\"b\n"}};
  EXPECT_EQ(messages_json(conversation.all_messages()), R"([{"role":"user","content":"a\"b\n"}])");
  conversation.system = "S";
  EXPECT_EQ(messages_json(conversation.all_messages()),
            R"([{"role":"system","content":"S"},{"role":"user","content":"a\"b\n"}])");
}

}  // namespace
}  // namespace realm
