#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <string>

#include "text/utf8.h"

namespace realm {
namespace {

PreTokenizer compile(std::string_view name) {
  Result<const PreTokenizerRow*> row = find_pre_tokenizer(name);
  EXPECT_TRUE(row.ok());
  Result<PreTokenizer> result = PreTokenizer::compile(**row);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return std::move(*result);
}

std::vector<std::string> split(const PreTokenizer& tokenizer, std::string_view text) {
  std::vector<uint32_t> lengths;
  const Status status = tokenizer.split(text, lengths);
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  std::vector<std::string> words;
  size_t start = 0;
  for (const uint32_t length : lengths) {
    words.emplace_back(text.substr(start, length));
    start += length;
  }
  EXPECT_EQ(start, text.size());
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : "|") + word;
  return out;
}

constexpr const char* kTexts[] = {
    "Hello world, it's We'Ve  DON'T 12345 3.14\n\n  x=foo_bar(1,234);",
    "naïve CamelCase XMLHttp 你好世界 ひらカナ 한국어 مرحبا हिन्दी  \t\n ½²Ⅷ "
    "🦙🚀!\r\n…",
    "a   b\u00a0c\u3000d   \n\n \te 1234567abc _99_ 'ſ",
};

// The words that Hugging Face's tokenizers library cuts with each family's published patterns.
TEST(PreTokenizer, CutsAsHuggingFaceDoes) {
  struct Case {
    const char* name;
    const char* words[3];
  };
  const Case cases[] = {
      {"gpt-2",
       {"Hello| world|,| it|'s| We|'|Ve| | DON|'|T| 12345| 3|.|14|\n\n | "
        "x|=|foo|_|bar|(|1|,|234|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|ि|न|्|द|ी|  \t\n| ½²Ⅷ| "
        "🦙🚀!|\r|\n|…",
        "a|  | b|\u00a0|c|\u3000|d|   \n\n |\t|e| 1234567|abc| _|99|_| '|ſ"}},
      {"llama-bpe",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |123|45| |3|.|14|\n\n| | "
        "x|=foo|_bar|(|1|,|234|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|िन|्द|ी|  \t\n| |½²Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |123|456|7|abc| _|99|_| '|ſ"}},
      {"qwen2",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |1|2|3|4|5| |3|.|1|4|\n\n| | "
        "x|=foo|_bar|(|1|,|2|3|4|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|िन|्द|ी|  \t\n| |½|²|Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |1|2|3|4|5|6|7|abc| _|9|9|_| '|ſ"}},
      {"qwen35",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |1|2|3|4|5| |3|.|1|4|\n\n| | "
        "x|=foo|_bar|(|1|,|2|3|4|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| हिन्दी|  \t\n| |½|²|Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |1|2|3|4|5|6|7|abc| _|9|9|_| '|ſ"}},
      {"starcoder",
       {"Hello| world|,| it|'s| We|'|Ve| | DON|'|T| |1|2|3|4|5| |3|.|1|4|\n\n | "
        "x|=|foo|_|bar|(|1|,|2|3|4|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|ि|न|्|द|ी|  \t\n |½|²|Ⅷ| "
        "🦙🚀!|\r|\n|…",
        "a|  | b|\u00a0|c|\u3000|d|   \n\n |\t|e| |1|2|3|4|5|6|7|abc| _|9|9|_| '|ſ"}},
      {"gpt-4o",
       {"Hello| world|,| it's| We'Ve| | DON'T| |123|45| |3|.|14|\n\n| | x|=foo|_bar|(|1|,|234|);",
        "naïve| Camel|Case| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| हिन्दी|  \t\n| |½²Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |123|456|7|abc| _|99|_| '|ſ"}},
      {"tekken",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |1|2|3|4|5| |3|.|1|4|\n\n| | "
        "x|=foo|_bar|(|1|,|2|3|4|);",
        "naïve| Camel|Case| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| हिन्दी|  \t\n| |½|²|Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |1|2|3|4|5|6|7|abc| _|9|9|_| '|ſ"}},
      {"deepseek-v3",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |123|45| |3|.|14|\n\n| | "
        "x|=foo|_bar|(|1|,|234|);",
        "naïve| CamelCase| XMLHttp| |你好世界| |ひらカナ| 한국어| مرحبا| हिन्दी|  \t\n| |½²Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |123|456|7|abc| _|99|_| '|ſ"}},
      {"deepseek-llm",
       {"Hello| world|,| it|'|s| We|'|Ve| | DON|'|T| |12345| |3|.|14|\n|\n| | "
        "x|=|foo|_|bar|(|1|,|234|);",
        "na|ï|ve| CamelCase| XMLHttp| |你好世界| |ひらカナ| |한국어| مرحبا |हिन्दी|  \t|\n| |½²|Ⅷ| "
        "🦙🚀|!|\r|\n|…",
        "a|  | b|\u00a0c|\u3000|d|   |\n|\n| |\te| |1234567|abc| _|99|_| '|ſ"}},
      {"deepseek-coder",
       {"Hello| world|,| it|'|s| We|'|Ve| | DON|'|T| |1|2|3|4|5| |3|.|1|4|\n|\n| | "
        "x|=|foo|_|bar|(|1|,|2|3|4|);",
        "naïve| CamelCase| XMLHttp| |你好世界| |ひらカナ| |한국어| مرحبا| |ह|ि|न|्|द|ी|  \t|\n| "
        "|½|²|Ⅷ| 🦙🚀|!|\r|\n|…",
        "a|  | b|\u00a0c|\u3000|d|   |\n|\n| |\te| |1|2|3|4|5|6|7|abc| _|9|9|_| '|ſ"}},
      {"falcon",
       {"Hello| world|,| it|'|s| We|'|Ve| | DON|'|T| |123|45| 3|.|14|\n\n | "
        "x|=|foo|_|bar|(|1|,|234|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|ि|न|्|द|ी|  \t\n| ½²Ⅷ| "
        "🦙🚀|!|\r\n|…",
        "a|  | b|\u00a0|c|\u3000|d|   \n\n |\t|e| |123|456|7|abc| |_|99|_| |'|ſ"}},
      {"bloom",
       {"Hello| world|,| it's| We'Ve| | DON'T| 12345| 3|.|14|\n\n | x=foo_bar|(|1|,|234|)|;",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| हिन्दी|  \t\n| ½²Ⅷ| "
        "🦙🚀|!\r\n…",
        "a|  | b|\u00a0|c|\u3000|d|   \n\n \t|e| 1234567abc| _99_| 'ſ"}},
      {"viking",
       {"Hello| world|,| it's| We'Ve| | DON'T| |1|2|3|4|5| |3|.|1|4|\n\n | "
        "x=foo_bar|(|1|,|2|3|4|)|;",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| हिन्दी|  \t\n| |½|²|Ⅷ| "
        "🦙🚀|!\r\n…",
        "a|  | b|\u00a0|c|\u3000|d|   \n\n \t|e| |1|2|3|4|5|6|7|abc| _|9|9|_| 'ſ"}},
      {"jais-2",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |123|45| |3|.|14|\n\n| | "
        "x|=foo|_bar|(|1|,|234|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|िन|्द|ी|  \t\n| |½²Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |123|456|7|abc| _|99|_| '|ſ"}},
      {"tiny_aya",
       {"Hello| world|,| it's| We'Ve| | DON'T| |12|345| |3|.|14|\n\n| | x|=foo|_bar|(|1|,|234|);",
        "naïve| Camel|Case| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| हिन्दी|  \t\n| |½²Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |123|456|7|abc| _|99|_| '|ſ"}},
      {"superbpe",
       {"Hello world, it's We'Ve  DON'T |12|345| |3|.|14|\n\n  x=foo_bar(|1|,|234|);",
        "naïve CamelCase XMLHttp 你好世界 ひらカナ 한국어 مرحبا हिन्दी  \t\n |½²Ⅷ| "
        "🦙🚀!\r\n…",
        "a   b\u00a0c\u3000d   \n\n \te |1|234|567|abc _|99|_ 'ſ"}},
      {"bailingmoe",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |1|2|3|4|5| |3|.|1|4|\n\n| | "
        "x|=foo|_bar|(|1|,|2|3|4|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|िन|्द|ी|  \t\n| |½|²|Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |1|2|3|4|5|6|7|abc| _|9|9|_| '|ſ"}},
      {"seed-coder",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |1|2|3|4|5| |3|.|1|4|\n\n| | "
        "x|=foo|_bar|(|1|,|2|3|4|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|िन|्द|ी|  \t\n| |½|²|Ⅷ| "
        "🦙🚀!|\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |1|2|3|4|5|6|7|abc| _|9|9|_| '|ſ"}},
      {"exaone-moe",
       {"Hello world|,| it|'s| We|'Ve| | DON|'T| |1|2|3|4|5| |3|.|1|4|\n\n| | "
        "x|=foo|_bar|(|1|,|2|3|4|);",
        "naïve CamelCase XMLHttp 你好世界 ひらカナ 한국어 مرحبا हिन्दी|  \t\n| |½|²|Ⅷ| "
        "🦙🚀!\r|\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |1|2|3|4|5|6|7|abc| _|9|9|_| '|ſ"}},
      {"kimi-k2",
       {"Hello| world|,| it's| We'Ve| | DON'T| |123|45| |3|.|14|\n\n| | x|=foo|_bar|(|1|,|234|);",
        "naïve| Camel|Case| XMLHttp| |你好世界| ひらカナ| 한국어| مرحبا| हिन्दी|  \t\n| |½²Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |123|456|7|abc| _|99|_| '|ſ"}},
      {"minicpm5",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |123|45| |3|.|14|\n\n| | "
        "x|=foo|_bar|(|1|,|234|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|िन|्द|ी|  \t\n| |½²Ⅷ| "
        "🦙🚀!\r\n|…",
        "a|  | b|\u00a0c|\u3000d|   \n\n| |\te| |123|456|7|abc| _|99|_| '|ſ"}},
      {"chameleon",
       {"Hello| world|,| it|'|s| We|'|Ve|  |DON|'|T| |1|2|3|4|5| |3|.|1|4|\n|\n|  "
        "|x|=|foo|_|bar|(|1|,|2|3|4|)|;",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|ि|न|्|द|ी|  |\t|\n| "
        "|½|²|Ⅷ| 🦙🚀|!|\r|\n|…",
        "a|  | b|\u00a0|c|\u3000|d|  | |\n|\n| |\t|e| |1|2|3|4|5|6|7|abc| |_|9|9|_| |'|ſ"}},
      {"laguna",
       {"Hello| world|,| it|'s| We|'Ve| | DON|'T| |1|2|3|4|5| |3|.|1|4|\n\n| | "
        "x|=foo|_bar|(|1|,|2|3|4|);",
        "naïve| CamelCase| XMLHttp| 你好世界| ひらカナ| 한국어| مرحبا| ह|िन|्द|ी|  \t|\n| |½|²|Ⅷ| "
        "🦙🚀!\r|\n|…",
        "a|  | b|\u00a0c|\u3000d|   |\n\n| |\te| |1|2|3|4|5|6|7|abc| _|9|9|_| '|ſ"}},
  };
  for (const Case& c : cases) {
    const PreTokenizer tokenizer = compile(c.name);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(joined(split(tokenizer, kTexts[i])), c.words[i]) << c.name;
    }
  }
}

TEST(PreTokenizer, GroupsDigitsFromTheRight) {
  EXPECT_EQ(joined(split(compile("superbpe"), "a1b12c123d1234e1234567")),
            "a|1|b|12|c|123|d|1|234|e|1|234|567");
  EXPECT_EQ(joined(split(compile("afmoe"), "1 12 123 1234 1234567")),
            "1| |12| |123| |1|234| |1|234|567");
  // Where a word goes on behind the digits, the next step groups them from the left.
  EXPECT_EQ(joined(split(compile("tiny_aya"), "x1234567 1234567x")), "x|1|234|567| |123|456|7|x");
}

TEST(PreTokenizer, CutsWhiteSpaceIntoPowersOfTwoForJais2) {
  const PreTokenizer tokenizer = compile("jais-2");
  std::vector<size_t> sizes;
  for (const std::string& word : split(tokenizer, std::string(1000, ' ') + "x")) {
    sizes.push_back(word.size());
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{512, 256, 128, 64, 32, 4, 2, 1, 2}));
  EXPECT_EQ(joined(split(tokenizer, "     \n\n  hi  ")), "     \n\n| | hi|  ");
}

TEST(PreTokenizer, EveryRowCompilesAndDropsNothing) {
  std::set<std::string_view> names;
  for (const PreTokenizerRow& row : pre_tokenizers()) {
    ASSERT_FALSE(row.names.empty());
    for (const std::string_view name : row.names) {
      EXPECT_TRUE(names.insert(name).second) << name << " stands in two rows";
      EXPECT_EQ(*find_pre_tokenizer(name), &row);
    }
    const PreTokenizer tokenizer = compile(row.names[0]);
    for (const char* text : kTexts) split(tokenizer, text);
    EXPECT_TRUE(split(tokenizer, "").empty());
    EXPECT_EQ(joined(split(tokenizer, std::string("\0", 1))), std::string("\0", 1));
  }
  EXPECT_GT(names.size(), 75u);
}

// Names that files carry for patterns of an older family.
TEST(PreTokenizer, FamiliesShareTheirPatterns) {
  const std::pair<const char*, std::vector<const char*>> families[] = {
      {"gpt-2", {"mpt", "phi-2", "olmo", "jais"}},
      {"starcoder", {"refact", "smollm", "command-r", "exaone"}},
      {"dbrx", {"smaug-bpe", "chatglm-bpe"}},
      {"bloom", {"poro", "poro-chat", "gpt3-finnish"}},
      {"qwen2", {"stablelm2", "deepseek-r1-qwen"}},
  };
  for (const auto& [family, names] : families) {
    for (const char* name : names) {
      const auto row = find_pre_tokenizer(name);
      ASSERT_TRUE(row.ok()) << name;
      EXPECT_EQ(*row, *find_pre_tokenizer(family)) << name;
    }
  }
  // The same pattern, but whole words before merges, and a BOS token.
  EXPECT_EQ((*find_pre_tokenizer("llama-bpe"))->steps.data(),
            (*find_pre_tokenizer("dbrx"))->steps.data());
}

TEST(PreTokenizer, UnknownNamesAreErrorsThatSayWhatIsKnown) {
  const auto row = find_pre_tokenizer("qwen9");
  ASSERT_FALSE(row.ok());
  EXPECT_EQ(row.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(row.error().message.find("'qwen9'"), std::string::npos);
  EXPECT_NE(row.error().message.find("tokenizer.ggml.pre"), std::string::npos);
  EXPECT_NE(row.error().message.find(" llama-bpe "), std::string::npos);
}

// Runs that make a backtracking engine quadratic or worse: each is linear here, for every row. The
// bound is generous for a loaded machine with sanitizers; quadratic time would be minutes.
TEST(PreTokenizer, NoInputIsCatastrophic) {
  const auto repeat = [](std::string_view unit, size_t bytes) {
    std::string out;
    while (out.size() < bytes) out += unit;
    return out;
  };
  constexpr size_t kBytes = 200'000;
  const std::string texts[] = {
      repeat(" ", kBytes),
      repeat(" ", kBytes) + "x",
      repeat("\n", kBytes) + "x",
      repeat(" \n", kBytes),
      repeat("a", kBytes),
      repeat("A", kBytes),
      repeat("1", kBytes),
      repeat("1", kBytes) + "x",
      repeat("!", kBytes),
      repeat("가 ", kBytes) + "!",
      repeat("가", kBytes),
      repeat("a ", kBytes),
      repeat("\u0301", kBytes),
      repeat("a\u0301 ", kBytes),
      repeat("'s", kBytes),
      repeat("🦙", kBytes),
      repeat("\u3000", kBytes) + "x",
      repeat("<sentinel:1", kBytes),
      repeat("IMGIMGA", kBytes),
      repeat("Aa", kBytes),
      repeat("x\r\n\t ", kBytes),
      repeat("漢", kBytes),
  };
  for (const PreTokenizerRow& row : pre_tokenizers()) {
    const PreTokenizer tokenizer = compile(row.names[0]);
    for (const std::string& text : texts) {
      const auto start = std::chrono::steady_clock::now();
      std::vector<uint32_t> lengths;
      const Status status = tokenizer.split(text, lengths);
      ASSERT_TRUE(status.ok()) << row.names[0] << " on " << text.substr(0, 8) << ": "
                               << status.error().message;
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      EXPECT_LT(time.count(), 3.0) << row.names[0] << " on " << text.substr(0, 8);
    }
  }
}

}  // namespace
}  // namespace realm
