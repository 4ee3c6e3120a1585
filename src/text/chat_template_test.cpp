#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <thread>
#include <vector>

#include "base/file.h"
#include "text/chat_template_builtin.h"

namespace realm {
namespace {

constexpr ChatTemplateClock kNow{1764000000123456, 0};  // 2025-11-24 16:00:00.123456 UTC
constexpr const char* kHi = R"([{"role":"user","content":"Hi"}])";

Result<std::string> render(std::string_view source, std::string_view messages = kHi,
                           std::string_view variables = "") {
  ChatTemplate compiled = TRY(ChatTemplate::compile(source, {.bos = "<s>", .eos = "</s>"}));
  return compiled.render({.messages_json = messages, .variables_json = variables, .now = kNow});
}

std::string rendered(std::string_view source, std::string_view messages = kHi) {
  Result<std::string> result = render(source, messages);
  return result.ok() ? *result : "error: " + result.error().message;
}

// tests/template_cases.txt: sections by name, per case; the file's own first section is case "".
using Sections = std::map<std::string, std::string>;
std::vector<std::pair<std::string, Sections>> read_cases(std::string_view text) {
  std::vector<std::pair<std::string, Sections>> cases(1);
  std::string* section = nullptr;
  bool is_first_line = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.starts_with("=== ")) {
      cases.emplace_back(line.substr(4), Sections{});
      section = nullptr;
    } else if (line.starts_with("--- ")) {
      section = &cases.back().second[std::string(line.substr(4))];
      is_first_line = true;
    } else if (section != nullptr) {
      if (!is_first_line) *section += '\n';
      *section += line;
      is_first_line = false;
    }
  }
  return cases;
}

// Two JSON objects' entries in one.
std::string merged(const std::string& a, const std::string& b) {
  if (b.empty()) return a;
  return a.substr(0, a.rfind('}')) + "," + b.substr(b.find('{') + 1);
}

TEST(ChatTemplate, RendersEveryCaseAsTransformersDoes) {
  const std::string path = REALM_SOURCE_DIR "/tests/template_cases.txt";
  Result<std::string> text = read_text_file(path, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.error().message;
  const auto cases = read_cases(*text);
  ASSERT_GT(cases.size(), 150u);
  const std::string& defaults = cases[0].second.at("defaults");
  std::map<std::string, std::string> sources;
  for (const auto& [name, sections] : cases) {
    if (name.empty()) continue;
    SCOPED_TRACE(name);
    auto section = [&sections](const char* wanted) {
      const auto found = sections.find(wanted);
      return found == sections.end() ? std::string() : found->second;
    };
    std::string source = section("template");
    if (source.starts_with("(as ")) source = sources.at(source.substr(4, source.size() - 5));
    sources[name] = source;
    const std::string messages = sections.contains("messages") ? section("messages") : kHi;
    const std::string tools = section("tools"), documents = section("documents");
    const std::string variables = merged(defaults, section("variables"));

    Result<ChatTemplate> compiled = ChatTemplate::compile(source, {.bos = "<s>", .eos = "</s>"});
    Result<std::string> result =
        compiled.ok()
            ? compiled->render({.messages_json = messages,
                                .tools_json = tools,
                                .documents_json = documents,
                                .variables_json = variables,
                                .add_generation_prompt = !sections.contains("no_generation_prompt"),
                                .now = kNow})
            : compiled.error();
    if (sections.contains("expect")) {
      ASSERT_TRUE(result.ok()) << result.error().message;
      EXPECT_EQ(*result, section("expect"));
    } else {
      ASSERT_FALSE(result.ok()) << *result;
      EXPECT_NE(result.error().message.find(section("error")), std::string::npos)
          << result.error().message;
    }
  }
}

TEST(ChatTemplate, ErrorsNameTheLineAndTheKind) {
  Result<ChatTemplate> bad = ChatTemplate::compile("one\ntwo\n{% if %}\n", {});
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().code, ErrorCode::kBadModel);
  EXPECT_NE(bad.error().message.find("template line 3"), std::string::npos) << bad.error().message;

  Result<std::string> raised =
      render("a\n{% for m in messages %}\n{{ raise_exception('no ' + m.role) }}{% endfor %}");
  ASSERT_FALSE(raised.ok());
  EXPECT_EQ(raised.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(raised.error().message, "chat template: no user (template line 3)");

  Result<std::string> undefined = render("x\n{{ nothing.at.all }}");
  ASSERT_FALSE(undefined.ok());
  EXPECT_NE(undefined.error().message.find("template line 2"), std::string::npos);
}

TEST(ChatTemplate, RefusesBadInput) {
  auto message_of = [](std::string_view messages, std::string_view variables = "") {
    Result<std::string> result = render("{{ messages }}", messages, variables);
    if (result.ok()) return std::string("ok");
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    return result.error().message;
  };
  EXPECT_EQ(message_of("[]"), "chat template: messages: at least one message is needed");
  EXPECT_EQ(message_of("{}"), "chat template: messages: a list of objects is needed");
  EXPECT_EQ(message_of("[1]"), "chat template: messages: entry 0 is not an object");
  EXPECT_NE(message_of("[{\"role\":").find("not valid JSON"), std::string::npos);
  EXPECT_NE(message_of("").find("not valid JSON"), std::string::npos);
  EXPECT_NE(message_of("[\"\xff\"]").find("not valid UTF-8"), std::string::npos);
  EXPECT_NE(message_of(std::string(1000, '[')).find("not valid JSON"), std::string::npos);
  EXPECT_EQ(message_of(kHi, "[1]"), "chat template: variables: a JSON object is needed");
  EXPECT_EQ(message_of(kHi, R"({"tools":[]})"),
            "chat template: the variable tools cannot be set this way");

  Result<ChatTemplate> bytes = ChatTemplate::compile("\xff", {});
  ASSERT_FALSE(bytes.ok());
  EXPECT_EQ(bytes.error().code, ErrorCode::kBadModel);
}

TEST(ChatTemplate, NormalizesMessages) {
  // As apply_chat_template: no keys without a value, reasoning under each of its names.
  EXPECT_EQ(rendered("{{ messages }}", R"([{"role":"assistant","content":null}])"),
            "[{'role': 'assistant'}]");
  EXPECT_EQ(rendered("{{ messages[0] }}", R"([{"role":"x","reasoning":"r"}])"),
            "{'thinking': 'r', 'role': 'x', 'reasoning': 'r', 'reasoning_content': 'r'}");
  EXPECT_EQ(rendered("{{ messages[0]|tojson }}", R"([{"b":1,"a":2,"b":3}])"),
            R"({"b": 3, "a": 2})");
}

TEST(ChatTemplate, VariablesAndTokens) {
  EXPECT_EQ(rendered("{{ bos_token }}|{{ eos_token }}|{{ unk_token is defined }}"),
            "<s>|</s>|False");
  EXPECT_EQ(*render("{{ bos_token }}{{ n }}{{ deep.er }}", kHi,
                    R"({"bos_token":"B","n":3,"deep":{"er":[1]}})"),
            "B3[1]");
  EXPECT_EQ(rendered("{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}"),
            "TrueTrueTrue");

  Result<ChatTemplate> uses = ChatTemplate::compile(
      "{% set x = 1 %}{% if tools %}{{ x }}{% endif %}{{ enable_thinking }}", {});
  ASSERT_TRUE(uses.ok());
  EXPECT_TRUE(uses->supports_tools());
  EXPECT_TRUE(uses->reads("enable_thinking"));
  EXPECT_FALSE(uses->reads("x"));
  EXPECT_FALSE(uses->reads("documents"));
}

TEST(ChatTemplate, ClockIsLocalTime) {
  Result<ChatTemplate> compiled = ChatTemplate::compile("{{ strftime_now('%Y-%m-%d %H:%M') }}", {});
  ASSERT_TRUE(compiled.ok());
  auto at = [&](ChatTemplateClock now) {
    return *compiled->render({.messages_json = kHi, .now = now});
  };
  EXPECT_EQ(at({0, 0}), "1970-01-01 00:00");
  EXPECT_EQ(at({0, -3600}), "1969-12-31 23:00");
  EXPECT_EQ(at({1709164800'000000, 0}), "2024-02-29 00:00");
  EXPECT_EQ(at({1735689599'999999, 3600}), "2025-01-01 00:59");
  EXPECT_EQ(at({INT64_MAX, 0}), "9999-12-31 23:59");
  EXPECT_EQ(at({INT64_MIN, 0}), "1-01-01 00:00");
}

struct HostileCase {
  const char* what;
  std::string source;
};

std::string repeated(std::string_view text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

TEST(ChatTemplate, HostileTemplatesMeetALimit) {
  const HostileCase cases[] = {
      {"loops", "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"},
      {"recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"},
      {"doubling text",
       "{% set ns = namespace(x='a') %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}"
       "{% endfor %}"},
      {"doubling lists", "{% set x = [1] %}" + repeated("{% set x = x + x %}", 60)},
      {"shared lists", "{% set x = [1] %}" + repeated("{% set x = [x, x] %}", 60) + "{{ x == x }}"},
      {"bare tuples", "{% set x = [1] %}" + repeated("{% set x = x, x %}", 60) + "{{ x ~ 'a' }}"},
      {"shared arguments",
       "{% macro f(x, n) %}{% if n %}{{ f({'a': x, 'b': x}, n - 1) }}{% else %}{{ x ~ 'a' }}"
       "{% endif %}{% endmacro %}{{ f([1], 60) }}"},
      {"deep lists",
       "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}"
       "{% endfor %}{{ ns.x }}"},
      {"a namespace in itself", "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}"},
      {"output", "{{ 'x' * 99999999 }}"},
      {"width", "{{ '%99999999d'|format(1) }}"},
      {"width of format", "{{ '{:99999999}'.format(1) }}"},
      {"replace", "{{ ('a' * 9999).replace('', 'b' * 999999) }}"},
      {"operators", "{{ 1" + repeated("+1", 40000) + " }}"},
      {"signs", "{{ " + repeated("-", 40000) + "1 }}"},
      {"brackets", "{{ " + repeated("[", 4000) + repeated("]", 4000) + " }}"},
      {"blocks", repeated("{% if 1 %}", 4000)},
      {"size", std::string(300000, 'x')},
  };
  for (const HostileCase& hostile : cases) {
    SCOPED_TRACE(hostile.what);
    // Threads of a server have no larger stack than this one has here.
    Result<std::string> result = std::string();
    std::thread([&] {
      Result<ChatTemplate> compiled = ChatTemplate::compile(hostile.source, {});
      result =
          compiled.ok()
              ? compiled->render({.messages_json = kHi,
                                  .limits = {.steps_max = 400'000, .output_bytes_max = 1 << 20}})
              : compiled.error();
    }).join();
    EXPECT_FALSE(result.ok());
  }
}

TEST(ChatTemplate, LimitsAreReportedAsSuch) {
  Result<ChatTemplate> compiled = ChatTemplate::compile("{{ 'x' * 1000 }}", {});
  ASSERT_TRUE(compiled.ok());
  Result<std::string> cut =
      compiled->render({.messages_json = kHi, .limits = {.output_bytes_max = 999}});
  ASSERT_FALSE(cut.ok());
  EXPECT_EQ(cut.error().code, ErrorCode::kExhausted);
  EXPECT_NE(cut.error().message.find("longer than 999 bytes"), std::string::npos);
  EXPECT_TRUE(compiled->render({.messages_json = kHi, .limits = {.output_bytes_max = 1000}}).ok());
}

TEST(ChatTemplate, LongConversations) {
  std::string messages = "[";
  for (int i = 0; i < 4000; ++i) {
    if (i > 0) messages += ',';
    messages += i % 2 == 0 ? R"({"role":"user","content":"question"})"
                           : R"({"role":"assistant","content":"answer"})";
  }
  messages += "]";
  const std::string gathered = rendered(
      "{% set ns = namespace(all=[]) %}{% for m in messages %}{% set ns.all = ns.all + [m.role] %}"
      "{% endfor %}{{ ns.all|length }}",
      messages);
  EXPECT_EQ(gathered, "4000");
}

TEST(ChatTemplate, RendersFromSeveralThreads) {
  Result<ChatTemplate> compiled = ChatTemplate::compile(
      "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
      "{{ m.content }}{{ ns.n }}{% endfor %}{{ id }}",
      {});
  ASSERT_TRUE(compiled.ok());
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string variables = "{\"id\":" + std::to_string(t) + "}";
      for (int i = 0; i < 50; ++i) {
        Result<std::string> result =
            compiled->render({.messages_json = kHi, .variables_json = variables});
        if (!result.ok() || *result != "Hi1" + std::to_string(t)) ++wrong[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

constexpr const char* kTalk =
    R"([{"role":"system","content":"Be brief."},{"role":"user","content":"One? "},)"
    R"({"role":"assistant","content":" Two."},{"role":"user","content":[{"type":"text","text":"A"},)"
    R"({"type":"image"},{"type":"text","text":"B"}]}])";

TEST(BuiltinTemplates, AllRenderEveryMessage) {
  ASSERT_GE(builtin_template_names().size(), 25u);
  for (const std::string_view name : builtin_template_names()) {
    SCOPED_TRACE(name);
    Result<std::string> source = find_builtin_template(name);
    ASSERT_TRUE(source.ok());
    const std::string text = rendered(*source, kTalk);
    size_t at = 0;
    for (const char* part : {"Be brief.", "One?", "Two.", "AB"}) {
      at = text.find(part, at);
      ASSERT_NE(at, std::string::npos) << part << " in " << text;
    }
    // Without a prompt for the answer the text only gets shorter.
    Result<ChatTemplate> compiled = ChatTemplate::compile(*source, {.bos = "<s>", .eos = "</s>"});
    ASSERT_TRUE(compiled.ok());
    Result<std::string> closed =
        compiled->render({.messages_json = kTalk, .add_generation_prompt = false});
    ASSERT_TRUE(closed.ok());
    EXPECT_TRUE(text.starts_with(*closed)) << *closed;
  }
}

TEST(BuiltinTemplates, Texts) {
  auto builtin = [](std::string_view name) {
    Result<std::string> source = find_builtin_template(name);
    return source.ok() ? rendered(*source, kTalk) : source.error().message;
  };
  EXPECT_EQ(builtin("chatml"),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne? <|im_end|>\n"
            "<|im_start|>assistant\n Two.<|im_end|>\n<|im_start|>user\nAB<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(builtin("llama2"),
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nOne? [/INST] Two. </s><s>[INST] AB [/INST]");
  EXPECT_EQ(builtin("llama3"),
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nOne?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nAB<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(builtin("mistral"), "<s>[INST] Be brief.\n\nOne? [/INST] Two.</s>[INST] AB[/INST]");
  EXPECT_EQ(
      builtin("mistral-v7-tekken"),
      "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]One? [/INST] Two.</s>[INST]AB[/INST]");
  EXPECT_EQ(builtin("gemma"),
            "<s><start_of_turn>user\nBe brief.\n\nOne?<end_of_turn>\n<start_of_turn>model\nTwo."
            "<end_of_turn>\n<start_of_turn>user\nAB<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(builtin("phi3"),
            "<|system|>\nBe brief.<|end|>\n<|user|>\nOne? <|end|>\n<|assistant|>\n Two.<|end|>\n"
            "<|user|>\nAB<|end|>\n<|assistant|>\n");
  EXPECT_EQ(builtin("zephyr"),
            "<|system|>\nBe brief.</s>\n<|user|>\nOne? </s>\n<|assistant|>\n Two.</s>\n"
            "<|user|>\nAB</s>\n<|assistant|>\n");
  EXPECT_EQ(builtin("vicuna"),
            "<s>Be brief.\n\nUSER: One? \nASSISTANT:  Two.</s>\nUSER: AB\nASSISTANT:");
  EXPECT_EQ(builtin("openchat"),
            "<s>Be brief.<|end_of_turn|>GPT4 Correct User: One? <|end_of_turn|>"
            "GPT4 Correct Assistant:  Two.<|end_of_turn|>GPT4 Correct User: AB<|end_of_turn|>"
            "GPT4 Correct Assistant:");
  EXPECT_EQ(builtin("nosuch").substr(0, 52),
            "there is no built-in chat template named 'nosuch'; t");
}

// The template of the model that Realm brings, with its own expected prompts.
TEST(ChatTemplate, RealmTiny) {
  const std::string path = REALM_SHARED_DIR "/models/realm-tiny/target/chat_template.jinja";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  Result<std::string> source = read_text_file(path, 1 << 18);
  ASSERT_TRUE(source.ok());
  EXPECT_EQ(rendered(*source), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

}  // namespace
}  // namespace realm
