#include "app/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <fstream>
#include <set>

namespace realm {
namespace {

using Variables = std::map<std::string, std::string>;

// Settings as a command line with these arguments and this environment gives them.
struct Given {
  Settings settings;
  Status status;

  explicit Given(std::vector<std::string> arguments, const Variables& variables = {}) {
    CLI::App app;
    settings.add_options(app, {SettingGroup::kGeneral, SettingGroup::kModel,
                               SettingGroup::kGeneration, SettingGroup::kSampling});
    std::reverse(arguments.begin(), arguments.end());
    app.parse(std::move(arguments));
    status = settings.resolve([&](const char* name) -> const char* {
      const auto it = variables.find(name);
      return it == variables.end() ? nullptr : it->second.c_str();
    });
  }
  std::string message() const { return status.ok() ? "" : status.error().message; }
};

struct ConfigFile {
  std::string path = testing::TempDir() + "realm-settings-test-" + std::to_string(::getpid());
  explicit ConfigFile(const std::string& text) { std::ofstream(path) << text; }
  ~ConfigFile() { std::remove(path.c_str()); }
};

TEST(Settings, EveryRowIsWellFormed) {
  std::set<std::string> names;
  for (const SettingRow& row : settings_table()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_FALSE(row.help.empty()) << row.name;
    EXPECT_EQ(row.choices.empty(), row.type != SettingType::kChoice) << row.name;
    EXPECT_EQ(row.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string::npos);
  }
  const Given given({});
  EXPECT_TRUE(given.status.ok()) << "a default is out of its own range: " << given.message();
}

TEST(Settings, EveryNumberHoldsItsRange) {
  for (const SettingRow& row : settings_table()) {
    if (row.type != SettingType::kInt && row.type != SettingType::kFloat) continue;
    for (const char* bad : {"", "x", "1x", "nan", "inf", "1e999", "99999999999999999999", " 1",
                            "0x10", "-2", "-1e30"}) {
      const Given given({}, {{[&] {
                                std::string name = "REALM_" + row.name;
                                for (char& c : name) {
                                  c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
                                }
                                return name;
                              }(),
                              bad}});
      const bool allowed = row.min <= -2 && std::string(bad) == "-2";
      EXPECT_EQ(given.status.ok(), allowed) << row.name << " = " << bad;
    }
  }
}

TEST(Settings, FlagBeforeEnvironmentBeforeFileBeforeDefault) {
  const ConfigFile file("threads = 3\ntop_p = 0.5\nmin_p = 0.2\nkv_type = f32\n");
  const Given given({"--threads", "5", "--config", file.path, "--temp=0"},
                    {{"REALM_THREADS", "4"}, {"REALM_TOP_P", "0.25"}});
  ASSERT_TRUE(given.status.ok()) << given.message();
  EXPECT_EQ(given.settings.find_int("threads"), 5);
  EXPECT_EQ(given.settings.find_float("top-p"), 0.25);
  EXPECT_EQ(given.settings.find_float("min-p"), 0.2);
  EXPECT_EQ(given.settings.find_text("kv-type"), "f32");
  EXPECT_EQ(given.settings.find_float("temperature"), 0.0);
  EXPECT_EQ(given.settings.find_int("top-k"), 40);
  EXPECT_EQ(given.settings.find_int("ctx"), std::nullopt);
  EXPECT_EQ(given.settings.source("threads"), "--threads (-t)");
  EXPECT_EQ(given.settings.source("top-p"), "REALM_TOP_P");
  EXPECT_EQ(given.settings.source("min-p"), file.path + ":3: min-p");
  EXPECT_EQ(given.settings.source("top-k"), "default");
  EXPECT_EQ(given.settings.source("ctx"), "");
}

TEST(Settings, Flags) {
  const ConfigFile file("mlock = yes\n");
  EXPECT_FALSE(Given({}).settings.get_flag("mlock"));
  EXPECT_TRUE(Given({"--mlock"}).settings.get_flag("mlock"));
  EXPECT_TRUE(Given({"--config", file.path}).settings.get_flag("mlock"));
  EXPECT_FALSE(Given({"--config", file.path}, {{"REALM_MLOCK", "0"}}).settings.get_flag("mlock"));
  EXPECT_FALSE(Given({"--config", file.path, "--mlock=false"}).settings.get_flag("mlock"));
  EXPECT_EQ(Given({"--no-mmap=maybe"}).message(), "--no-mmap must be true or false, not 'maybe'");
  EXPECT_EQ(Given({"--no-mmap"}).settings.source("no-mmap"), "--no-mmap");
  EXPECT_EQ(Given({}, {{"REALM_NO_MMAP", "maybe"}}).message(),
            "REALM_NO_MMAP must be true or false, not 'maybe'");
}

TEST(Settings, TheUsualFileMayBeAbsentAndANamedOneNot) {
  EXPECT_TRUE(Given({}, {{"HOME", "/nonexistent"}}).status.ok());
  EXPECT_EQ(Given({"--config", "/nonexistent"}).status.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Given({}, {{"REALM_CONFIG", "/nonexistent"}}).status.error().code,
            ErrorCode::kNotFound);
}

TEST(Settings, ErrorsSayWhereAndWhat) {
  EXPECT_EQ(Given({"--top-p", "1.5"}).message(), "--top-p must be a number of 0 to 1, not '1.5'");
  EXPECT_EQ(Given({}, {{"REALM_TEMPERATURE", "hot"}}).message(),
            "REALM_TEMPERATURE must be a number of 0 to 100, not 'hot'");
  EXPECT_EQ(Given({"-t", "0"}).message(),
            "--threads (-t) must be a whole number of 1 to 1024, not '0'");
  EXPECT_EQ(Given({"--repeat-penalty", "0"}).message(),
            "--repeat-penalty must be a number above 0 and at most 100, not '0'");
  EXPECT_EQ(Given({"--kv-type", "q8-0"}).message(),
            "--kv-type must be one of f32, f16, bf16, q8_0, fp8, not 'q8-0'; did you mean 'q8_0'?");
  const ConfigFile unknown("\ntreads = 3\n");
  EXPECT_EQ(Given({"--config", unknown.path}).message(),
            unknown.path + ":2: there is no setting 'treads'; did you mean 'threads'?");
  const ConfigFile wrong("\n\nctx = many");
  EXPECT_EQ(Given({"--config", wrong.path}).message(),
            wrong.path + ":3: ctx must be a whole number of 1 to 2147483647, not 'many'");
}

TEST(Settings, Lists) {
  EXPECT_EQ(Given({"--stop", "[a, b]", "--stop", "c"}).settings.get_list("stop"),
            (std::vector<std::string>{"[a, b]", "c"}));
  EXPECT_EQ(Given({}, {{"REALM_STOP", "a, b"}}).settings.get_list("stop"),
            (std::vector<std::string>{"a, b"}));
  EXPECT_EQ(Given({}, {{"REALM_STOP", "[\"a\", \"b\\n\"]"}}).settings.get_list("stop"),
            (std::vector<std::string>{"a", "b\n"}));
  EXPECT_FALSE(Given({}, {{"REALM_STOP", "[1]"}}).status.ok());
  EXPECT_FALSE(Given({}, {{"REALM_STOP", "[\"a\""}}).status.ok());
  EXPECT_TRUE(Given({}).settings.get_list("stop").empty());
}

TEST(Settings, RepeatedOptionTakesTheLast) {
  EXPECT_EQ(Given({"--top-k", "3", "--top-k", "5"}).settings.find_int("top-k"), 5);
  EXPECT_EQ(Given({"--top-k", "-1"}).settings.find_int("top-k"), -1);
}

TEST(Settings, SamplingParams) {
  const Given given({"--temperature", "0.25", "--repetition-penalty", "1.1", "--dry-multiplier",
                     "0.8", "--seed", "9007199254740992", "--logit-bias",
                     "{\"5\": -1.5, \"7\": false, \"0\": 3}", "--samplers", "top_k,typ_p",
                     "--samplers", "temperature", "--dry-sequence-breaker", "["});
  ASSERT_TRUE(given.status.ok()) << given.message();
  const auto params = sampling_params(given.settings);
  ASSERT_TRUE(params.ok()) << params.error().message;
  EXPECT_EQ(params->temperature, 0.25f);
  EXPECT_EQ(params->repeat_penalty, 1.1f);
  EXPECT_EQ(params->dry_multiplier, 0.8f);
  EXPECT_EQ(params->seed, uint64_t{1} << 53);
  EXPECT_EQ(params->samplers, (std::vector<std::string>{"top_k", "typ_p", "temperature"}));
  EXPECT_EQ(params->dry_sequence_breakers, (std::vector<std::string>{"["}));
  const std::vector<std::pair<Token, float>> bias = {
      {5, -1.5f}, {7, -std::numeric_limits<float>::infinity()}, {0, 3.0f}};
  EXPECT_EQ(params->logit_bias, bias);
  EXPECT_TRUE(validate(*params, 8).ok());

  const auto defaults = sampling_params(Given({}).settings);
  ASSERT_TRUE(defaults.ok());
  EXPECT_EQ(defaults->temperature, 0.8f);
  EXPECT_EQ(defaults->top_k, 40);
  EXPECT_EQ(defaults->dry_sequence_breakers.size(), 4u);
  EXPECT_NE(sampling_params(Given({}).settings)->seed, defaults->seed);
}

TEST(Settings, BadSamplingParams) {
  for (const char* bad :
       {"", "5", "[1]", "{\"x\": 1}", "{\"-1\": 1}", "{\"\": 1}", "{\"1\": true}", "{\"1\": \"a\"}",
        "{\"99999999999999\": 1}", "{\"2147483648\": 1}", "{\"1\": 1, \"1\": 2}"}) {
    const auto params = sampling_params(Given({"--logit-bias", bad}).settings);
    ASSERT_FALSE(params.ok()) << bad;
    EXPECT_EQ(params.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(params.error().message.starts_with("--logit-bias")) << params.error().message;
  }
  EXPECT_FALSE(sampling_params(Given({"--mirostat", "1"}).settings).ok());
}

}  // namespace
}  // namespace realm
