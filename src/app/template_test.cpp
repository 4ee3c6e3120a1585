#include "app/template.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace realm {
namespace {

class TemplateCommand : public ::testing::Test {
 protected:
  TemplateCommand()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                ("realm_template_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~TemplateCommand() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    const std::string path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  static std::string message_of(const TemplateOptions& options) {
    Result<std::string> result = run_template(options);
    return result.ok() ? "ok: " + *result : result.error().message;
  }

  std::filesystem::path folder_;
};

TEST_F(TemplateCommand, EmbeddedModelsTemplate) {
  const std::string messages =
      write("m.json", R"([{"role":"system","content":"S"},{"role":"user","content":"Zürich?"}])");
  EXPECT_EQ(message_of({.messages = messages}),
            "ok: <|im_start|>system\nS<|im_end|>\n<|im_start|>user\nZürich?<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(message_of({.messages = messages, .add_generation_prompt = false}),
            "ok: <|im_start|>system\nS<|im_end|>\n<|im_start|>user\nZürich?<|im_end|>\n");
  const std::string tools = write("t.json", R"([{"type":"function","function":{"name":"f"}}])");
  const std::string prompt = message_of({.messages = messages, .tools = tools});
  EXPECT_NE(prompt.find(R"({"type": "function", "function": {"name": "f"}})"), std::string::npos)
      << prompt;
}

TEST_F(TemplateCommand, FileAndVariables) {
  const std::string messages = write("m.json", R"([{"role":"user","content":"x"}])");
  const std::string file =
      write("t.jinja", "{{ messages[0].content }}{{ a }}{{ b|tojson }}{{ eos_token }}\n");
  EXPECT_EQ(message_of({.file = file, .messages = messages, .set = {"a=true", "b={\"k\": [1]}"}}),
            "ok: xTrue{\"k\": [1]}<|im_end|>");
}

TEST_F(TemplateCommand, Errors) {
  const std::string messages = write("m.json", R"([{"role":"user","content":"x"}])");
  const std::string broken = write("broken.json", "[{");
  const std::string bad = write("bad.jinja", "{% for %}");
  EXPECT_NE(message_of({.messages = folder_ / "none.json"}).find("none.json"), std::string::npos);
  EXPECT_NE(message_of({.messages = broken}).find("not valid JSON"), std::string::npos);
  EXPECT_TRUE(message_of({.file = bad, .messages = messages}).starts_with(bad));
  EXPECT_NE(message_of({.messages = messages, .set = {"x"}}).find("NAME=JSON"), std::string::npos);
  EXPECT_NE(message_of({.messages = messages, .set = {"x=yes"}}).find("not JSON"),
            std::string::npos);
  EXPECT_NE(message_of({.messages = messages, .set = {"messages=[]"}}).find("cannot be set"),
            std::string::npos);
}

}  // namespace
}  // namespace realm
