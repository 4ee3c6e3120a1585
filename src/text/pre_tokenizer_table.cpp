#include "text/pre_tokenizer_table.h"

#include <string>

namespace realm {
namespace {

using Kind = PreTokenizerStep::Kind;

// The English contractions that GPT-2 cut off words, and the case-blind form of its successors.
#define REALM_CONTRACTIONS R"((?i:'s|'t|'re|'ve|'m|'ll|'d))"
// What most patterns since GPT-4's end in: line ends with what precedes them; white space up to,
// but without, the last character before a word; the rest.
#define REALM_SPACE_TAIL R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"
#define REALM_SYMBOLS R"(| ?[^\s\p{L}\p{N}]+[\r\n]*)"
// Words of o200k: upper-case letters, then lower-case ones, with a contraction at the end; letters
// of caseless scripts and marks count as both.
#define REALM_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define REALM_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define REALM_O200K_WORDS                                                    \
  R"([^\r\n\p{L}\p{N}]?)" REALM_UPPER "*" REALM_LOWER "+" REALM_CONTRACTIONS \
  "?"                                                                        \
  R"(|[^\r\n\p{L}\p{N}]?)" REALM_UPPER "+" REALM_LOWER "*" REALM_CONTRACTIONS "?"
// Patterns of DeepSeek-V3: an ASCII sign glued to an ASCII word; words with their marks; signs.
#define REALM_SIGN_WORD R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)"
#define REALM_MARKED_WORD R"(|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
#define REALM_CJK R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)"

constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    REALM_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})" REALM_SYMBOLS REALM_SPACE_TAIL;
constexpr const char* kQwen2 =
    REALM_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" REALM_SYMBOLS REALM_SPACE_TAIL;
constexpr const char* kQwen35 = REALM_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)" REALM_SPACE_TAIL;
constexpr const char* kO200k =
    REALM_O200K_WORDS R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*)" REALM_SPACE_TAIL;
constexpr const char* kTekken = R"([^\r\n\p{L}\p{N}]?)" REALM_UPPER "*" REALM_LOWER
                                "+"
                                R"(|[^\r\n\p{L}\p{N}]?)" REALM_UPPER "+" REALM_LOWER
                                "*"
                                R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*)" REALM_SPACE_TAIL;
// Kimi-K2 keeps Han apart from other letters. PCRE2 has no class intersection, so the two letter
// classes without Han are written as complements.
#define REALM_UPPER_NO_HAN R"([^\p{Ll}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}])"
#define REALM_LOWER_NO_HAN R"([^\p{Lu}\p{Lt}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}])"
constexpr const char* kKimi =
    R"([\p{sc:Han}]+|[^\r\n\p{L}\p{N}]?)" REALM_UPPER_NO_HAN "*" REALM_LOWER_NO_HAN
    "+" REALM_CONTRACTIONS R"(?|[^\r\n\p{L}\p{N}]?)" REALM_UPPER_NO_HAN "+" REALM_LOWER_NO_HAN
    "*" REALM_CONTRACTIONS R"(?|\p{N}{1,3})" REALM_SYMBOLS REALM_SPACE_TAIL;
constexpr const char* kDeepseek3 =
    REALM_SIGN_WORD REALM_MARKED_WORD R"(| ?[\p{P}\p{S}]+[\r\n]*)" REALM_SPACE_TAIL;
// BLOOM's class of what ends a word, brackets and bar of the published pattern included.
constexpr const char* kBloom = R"( ?[^(\s|.,!?…。，、।۔،)]+)";
constexpr const char* kLines = R"([^\n]+|[\n]+)";
// Letters that have case, as DeepSeek listed them.
constexpr const char* kDeepseekCased =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ)"
    R"(Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹ)"
    R"(ℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)";

constexpr PreTokenizerStep kStepsGpt2[] = {{Kind::kPattern, kGpt2}};
constexpr PreTokenizerStep kStepsDigitsGpt2[] = {{Kind::kPattern, R"(\p{N})"},
                                                 {Kind::kPattern, kGpt2}};
constexpr PreTokenizerStep kStepsLlama3[] = {{Kind::kPattern, kLlama3}};
constexpr PreTokenizerStep kStepsQwen2[] = {{Kind::kPattern, kQwen2}};
constexpr PreTokenizerStep kStepsQwen35[] = {{Kind::kPattern, kQwen35}};
constexpr PreTokenizerStep kStepsO200k[] = {{Kind::kPattern, kO200k}};
constexpr PreTokenizerStep kStepsTekken[] = {{Kind::kPattern, kTekken}};
constexpr PreTokenizerStep kStepsKimi[] = {{Kind::kPattern, kKimi}};
constexpr PreTokenizerStep kStepsBloom[] = {{Kind::kPattern, kBloom}};
constexpr PreTokenizerStep kStepsViking[] = {{Kind::kPattern, kBloom},
                                             {Kind::kPattern, R"(\p{N})"}};
constexpr PreTokenizerStep kStepsLines[] = {{Kind::kPattern, kLines}};
constexpr PreTokenizerStep kStepsLinesQwen2[] = {{Kind::kPattern, kLines},
                                                 {Kind::kPattern, kQwen2}};
constexpr PreTokenizerStep kStepsDefault[] = {
    {Kind::kPattern, R"([\p{P}\$\+<=>\^~\|]+)"},
    {Kind::kPattern, kGpt2},
    {Kind::kPattern, R"(\p{N}+)"},
    {Kind::kPattern, R"([0-9][0-9][0-9])"},
};
constexpr PreTokenizerStep kStepsFalcon[] = {
    {Kind::kPattern, R"([\p{P}\$\+<=>\^~\|`]+)"},
    {Kind::kPattern, kGpt2},
    {Kind::kPattern, R"([0-9][0-9][0-9])"},
};
constexpr PreTokenizerStep kStepsDeepseekLlm[] = {
    {Kind::kPattern, R"([\r\n])"},
    {Kind::kPattern, kDeepseekCased},
    {Kind::kPattern, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)"},
    // \s+$ with its cost made linear: only where a run of white space starts, and all of it at
    // once.
    {Kind::kPattern, R"((?<!\s)\s++\z)"},
    {Kind::kPattern, R"([一-龥ࠀ-一가-\x{D7FF}]+)"},
    {Kind::kPattern, R"(\p{N}+)"},
};
constexpr PreTokenizerStep kStepsDeepseekCoder[] = {
    {Kind::kPattern, R"([\r\n])"},    {Kind::kPattern, R"(\s?\p{L}+)"},
    {Kind::kPattern, R"(\s?\p{P}+)"}, {Kind::kPattern, R"([一-龥ࠀ-一가-\x{D7FF}]+)"},
    {Kind::kPattern, R"(\p{N})"},
};
constexpr PreTokenizerStep kStepsDeepseek3[] = {
    {Kind::kPattern, R"(\p{N}{1,3})"},
    {Kind::kPattern, REALM_CJK},
    {Kind::kPattern, kDeepseek3},
};
constexpr PreTokenizerStep kStepsSpark[] = {
    {Kind::kPattern, R"(\p{N}{1,3})"},
    {Kind::kPattern, REALM_CJK},
    {Kind::kPattern, REALM_SIGN_WORD REALM_MARKED_WORD R"(| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)"},
    {Kind::kPattern, R"(\p{N})"},
};
constexpr PreTokenizerStep kStepsYoutu[] = {
    {Kind::kPattern,
     R"([가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+)"},
    {Kind::kPattern, REALM_O200K_WORDS R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*)" REALM_SPACE_TAIL},
};
// Jais 2 cuts white space into powers of two. Taken literally its pattern looks for a line end
// behind every one of them, which is quadratic in the run; two passes give the same cuts.
constexpr PreTokenizerStep kStepsJais2[] = {
    {Kind::kPattern, kLlama3},
    {Kind::kPattern,
     R"(\A\s*+\S(?s:.*+)|\A\s*[\r\n]+|\s{512}|\s{256}|\s{128}|\s{64}|\s{32}|\s{16}|\s{8}|\s{4}|\s{1,2})"},
};
constexpr PreTokenizerStep kStepsChameleon[] = {
    {Kind::kPattern, R"(<sentinel:[0-9]+>)"},    {Kind::kPattern, R"(IMGIMG[A-I]{1,4}Z)"},
    {Kind::kPattern, R"([\t\n]|    |  )"},       {Kind::kPattern, R"(\p{N})"},
    {Kind::kPattern, R"([\p{P}!-/:-@\[-`{-~])"}, {Kind::kPattern, kGpt2},
};
constexpr PreTokenizerStep kStepsTinyAya[] = {{Kind::kDecimalGroupsAtBoundary, nullptr},
                                              {Kind::kPattern, kO200k}};
constexpr PreTokenizerStep kStepsSuperBpe[] = {{Kind::kPattern, R"(\p{N}+)"},
                                               {Kind::kDecimalGroups, nullptr}};
constexpr PreTokenizerStep kStepsBailing[] = {
    {Kind::kPattern,
     R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*)"
     R"(|\s*[\r\n]|\s+(?!\S)|\s+)"}};
constexpr PreTokenizerStep kStepsSeedCoder[] = {
    {Kind::kPattern, REALM_CONTRACTIONS
     R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+)" REALM_SPACE_TAIL}};
constexpr PreTokenizerStep kStepsUfakzeka[] = {
    {Kind::kPattern, R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" REALM_SYMBOLS REALM_SPACE_TAIL}};
constexpr PreTokenizerStep kStepsAfmoe[] = {
    {Kind::kNumberGroups, nullptr},
    {Kind::kPattern,
     R"([一-鿿㐀-䶿\x{F900}-\x{FAFF}぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-\x{D7AF}ᄀ-ᇿ]+)"},
    {Kind::kPattern, kDeepseek3},
};
// Words of several Korean syllable groups. Nothing follows the repetition in its alternative, so it
// never gives back what it took; possessive, it needs no stack that grows with the word.
constexpr PreTokenizerStep kStepsExaoneMoe[] = {
    {Kind::kPattern,
     REALM_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*+(?: \p{L}\p{M}*+)*+)++|\p{N})"
                        R"(| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)"}};
constexpr PreTokenizerStep kStepsMiniCpm5[] = {
    {Kind::kPattern, R"(\p{N}{1,3})"},
    {Kind::kPattern,
     REALM_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+)" REALM_SYMBOLS REALM_SPACE_TAIL},
};

using Name = std::string_view;
constexpr Name kDefault[] = {"default"};
constexpr Name kNamesGpt2[] = {"gpt-2",      "phi-2",        "mpt",         "olmo",
                               "jais",       "trillion",     "exaone4",     "granite-docling",
                               "gigachat",   "mellum",       "modern-bert", "a.x-4.0",
                               "jina-es",    "jina-de",      "jina-v1-en",  "jina-v2-es",
                               "jina-v2-de", "jina-v2-code", "roberta-bpe"};
constexpr Name kNamesDigitsGpt2[] = {"starcoder", "refact",     "command-r", "smollm", "codeshell",
                                     "exaone",    "minerva-7b", "minerva",   "mellum2"};
constexpr Name kNamesLlama3[] = {"llama-bpe", "llama3",   "llama-v3", "falcon3",     "falcon-h1",
                                 "pixtral",   "midm-2.0", "lfm2",     "jina-v5-nano"};
constexpr Name kNamesDbrx[] = {"dbrx", "smaug-bpe", "chatglm-bpe"};
constexpr Name kNamesGlm4[] = {"glm4", "glm5"};
constexpr Name kNamesQwen2[] = {"qwen2",  "stablelm2", "deepseek-r1-qwen",
                                "megrez", "hunyuan",   "solar-open",
                                "grok-2", "kormo",     "f2llmv2"};
constexpr Name kNamesQwen35[] = {"qwen35"};
constexpr Name kNamesO200k[] = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"};
constexpr Name kNamesTekken[] = {"tekken"};
constexpr Name kNamesGraniteMulti[] = {"granite-embed-multi-97m"};
constexpr Name kNamesKimi[] = {"kimi-k2"};
constexpr Name kNamesBloom[] = {"bloom", "poro-chat", "poro", "gpt3-finnish"};
constexpr Name kNamesViking[] = {"viking"};
constexpr Name kNamesGemma4[] = {"gemma4", "granite-embed-multi-311m"};
constexpr Name kNamesSarvam[] = {"sarvam-moe"};
constexpr Name kNamesLaguna[] = {"laguna"};
constexpr Name kNamesFalcon[] = {"falcon"};
constexpr Name kNamesDeepseekLlm[] = {"deepseek-llm"};
constexpr Name kNamesDeepseekCoder[] = {"deepseek-coder"};
constexpr Name kNamesDeepseek3[] = {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"};
constexpr Name kNamesSpark[] = {"spark2_5"};
constexpr Name kNamesYoutu[] = {"youtu"};
constexpr Name kNamesJais2[] = {"jais-2"};
constexpr Name kNamesChameleon[] = {"chameleon"};
constexpr Name kNamesTinyAya[] = {"tiny_aya", "cohere2moe"};
constexpr Name kNamesSuperBpe[] = {"superbpe"};
constexpr Name kNamesBailing[] = {"bailingmoe", "bailingmoe2", "llada-moe"};
constexpr Name kNamesSeedCoder[] = {"seed-coder"};
constexpr Name kNamesUfakzeka[] = {"ufakzeka"};
constexpr Name kNamesAfmoe[] = {"afmoe"};
constexpr Name kNamesExaoneMoe[] = {"exaone-moe"};
constexpr Name kNamesMiniCpm5[] = {"minicpm5"};

constexpr PreTokenizerRow kRows[] = {
    {.names = kDefault, .steps = kStepsDefault},
    {.names = kNamesGpt2, .steps = kStepsGpt2},
    {.names = kNamesDigitsGpt2, .steps = kStepsDigitsGpt2},
    {.names = kNamesLlama3, .steps = kStepsLlama3, .ignores_merges = true, .adds_bos = true},
    {.names = kNamesDbrx, .steps = kStepsLlama3},
    {.names = kNamesGlm4, .steps = kStepsLlama3, .ignores_merges = true},
    {.names = kNamesQwen2, .steps = kStepsQwen2},
    {.names = kNamesQwen35, .steps = kStepsQwen35},
    {.names = kNamesO200k, .steps = kStepsO200k},
    {.names = kNamesTekken, .steps = kStepsTekken, .ignores_merges = true, .adds_bos = true},
    {.names = kNamesGraniteMulti, .steps = kStepsO200k, .ignores_merges = true},
    {.names = kNamesKimi, .steps = kStepsKimi},
    {.names = kNamesBloom, .steps = kStepsBloom},
    {.names = kNamesViking, .steps = kStepsViking},
    {.names = kNamesGemma4, .steps = kStepsLines, .forces_bos = true, .raw_utf8 = true},
    {.names = kNamesSarvam, .steps = kStepsLines, .raw_utf8 = true},
    {.names = kNamesLaguna, .steps = kStepsLinesQwen2},
    {.names = kNamesFalcon, .steps = kStepsFalcon},
    {.names = kNamesDeepseekLlm, .steps = kStepsDeepseekLlm},
    {.names = kNamesDeepseekCoder, .steps = kStepsDeepseekCoder},
    {.names = kNamesDeepseek3, .steps = kStepsDeepseek3},
    {.names = kNamesSpark, .steps = kStepsSpark},
    {.names = kNamesYoutu, .steps = kStepsYoutu, .ignores_merges = true},
    {.names = kNamesJais2, .steps = kStepsJais2},
    {.names = kNamesChameleon, .steps = kStepsChameleon, .adds_bos = true},
    {.names = kNamesTinyAya, .steps = kStepsTinyAya},
    {.names = kNamesSuperBpe, .steps = kStepsSuperBpe},
    {.names = kNamesBailing, .steps = kStepsBailing},
    {.names = kNamesSeedCoder, .steps = kStepsSeedCoder},
    {.names = kNamesUfakzeka, .steps = kStepsUfakzeka},
    {.names = kNamesAfmoe, .steps = kStepsAfmoe},
    {.names = kNamesExaoneMoe, .steps = kStepsExaoneMoe},
    {.names = kNamesMiniCpm5, .steps = kStepsMiniCpm5, .ignores_merges = true},
};

}  // namespace

std::span<const PreTokenizerRow> pre_tokenizers() {
  return kRows;
}

Result<const PreTokenizerRow*> find_pre_tokenizer(std::string_view name) {
  for (const PreTokenizerRow& row : kRows) {
    for (const std::string_view known : row.names) {
      if (known == name) return &row;
    }
  }
  std::string message = "unknown pre-tokenizer '" + std::string(name.substr(0, 60)) +
                        "' in tokenizer.ggml.pre: a guess would give wrong tokens. If the model's "
                        "tokenizer splits words as a known one does, set the key to that name; "
                        "known are";
  for (const PreTokenizerRow& row : kRows) {
    for (const std::string_view known : row.names) message += ' ' + std::string(known);
  }
  return Error{ErrorCode::kUnsupported, std::move(message)};
}

}  // namespace realm
