#include "formats/hf/pre_tokenizers.h"

#include <boost/json/serialize.hpp>
#include <vector>

namespace realm::hf {
namespace json = boost::json;

namespace {

// The regular expressions, as tokenizer.json files have them after JSON decoding, with line breaks
// that stand for themselves written as \r and \n (both spellings occur).
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepseekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kBloom = R"( ?[^(\s|[.,!?…。，、।۔،])]+)";
constexpr const char* kCjk = "[一-龥ࠀ-一가-퟿]+";
// Lists every cased script by ranges; the start identifies it (* matches any rest).
constexpr const char* kDeepseekLetters = R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺ*)";

constexpr const char* kByteLevel = "byte-level";
constexpr const char* kByteLevelGpt2 = "byte-level with GPT-2's regex";
constexpr const char* kEachDigit = "each digit";

struct KnownDefinition {
  const char* name;
  int ignore_merges;     // 0, 1, or -1 for either
  const char* steps[9];  // up to the first null
};

constexpr KnownDefinition kKnown[] = {
    {"gpt-2", -1, {kByteLevelGpt2}},
    // BPE's ignore_merges comes with the name: llama-bpe has it, dbrx has the same split without.
    {"llama-bpe", 1, {kLlama3, kByteLevel}},
    {"dbrx", 0, {kLlama3, kByteLevel}},
    {"qwen2", 0, {kQwen2, kByteLevel}},
    {"qwen35", 0, {kQwen35, kByteLevel}},
    {"tekken", -1, {kTekken, kByteLevel}},
    {"gpt-4o", -1, {kGpt4o, kByteLevel}},
    {"starcoder", 0, {kEachDigit, kByteLevelGpt2}},
    {"falcon", 0, {"punctuation Contiguous", kByteLevelGpt2, "digit runs", "[0-9][0-9][0-9]"}},
    {"deepseek-llm",
     0,
     {R"([\r\n])", kDeepseekLetters, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", kCjk,
      kEachDigit, kByteLevel}},
    {"deepseek-coder",
     0,
     {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjk, kEachDigit, kByteLevel}},
    {"deepseek-v3", 0, {R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+", kDeepseekV3, kByteLevel}},
    {"bloom", 0, {kBloom, kByteLevel}},
    {"viking", 0, {kBloom, kEachDigit, kByteLevel}},
};

std::string with_escaped_line_breaks(std::string_view regex) {
  std::string out;
  for (const char c : regex) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

// One definition as a list of steps, in the words of the table. A step that the table has no words
// for becomes its own JSON, which matches nothing.
Status collect_steps(const json::value& value, const std::string& label, int depth,
                     PreTokenizer& found, std::vector<std::string>& steps) {
  if (depth > 4) return Error{ErrorCode::kBadModel, label + ": pre_tokenizer is nested too deeply"};
  const JsonObject object = TRY(JsonObject::from(value, label + ": pre_tokenizer"));
  const std::string type = TRY(object.get_string("type"));
  if (type == "Sequence") {
    for (const json::value& step : *TRY(object.get_array("pretokenizers"))) {
      TRY(collect_steps(step, label, depth + 1, found, steps));
    }
    return {};
  }
  std::string step = json::serialize(value);
  if (type == "ByteLevel") {
    step = TRY(object.get_bool_or("use_regex", true)) ? kByteLevelGpt2 : kByteLevel;
    if (TRY(object.get_bool_or("add_prefix_space", true))) found.add_prefix_space = true;
  } else if (type == "Digits") {
    step = TRY(object.get_bool_or("individual_digits", false)) ? kEachDigit : "digit runs";
  } else if (type == "Punctuation") {
    step = "punctuation " + TRY(object.get_string_or("behavior", "Isolated"));
  } else if (type == "Split") {
    const JsonObject pattern = TRY(object.get_object("pattern"));
    const std::string behavior = TRY(object.get_string("behavior"));
    const bool invert = TRY(object.get_bool_or("invert", false));
    // Patterns that match every character leave nothing between matches to isolate or remove.
    const bool keeps_matches =
        (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
    if (keeps_matches && pattern.has("Regex")) {
      step = with_escaped_line_breaks(TRY(pattern.get_string("Regex")));
    }
  }
  steps.push_back(std::move(step));
  return {};
}

bool matches(const KnownDefinition& known, const std::vector<std::string>& steps) {
  for (size_t i = 0; i < steps.size(); ++i) {
    if (known.steps[i] == nullptr) return false;
    const std::string_view pattern = known.steps[i];
    const std::string_view step = steps[i];
    if (pattern == kDeepseekLetters) {
      const std::string_view start = pattern.substr(0, pattern.size() - 1);
      if (step.substr(0, start.size()) != start) return false;
    } else if (pattern != step) {
      return false;
    }
  }
  return known.steps[steps.size()] == nullptr;
}

}  // namespace

Result<PreTokenizer> recognize_pre_tokenizer(const json::value& pre_tokenizer, bool ignore_merges,
                                             const std::string& label) {
  PreTokenizer found;
  std::vector<std::string> steps;
  TRY(collect_steps(pre_tokenizer, label, 0, found, steps));
  constexpr size_t kMaxSteps = std::size(KnownDefinition{}.steps) - 1;
  if (steps.size() <= kMaxSteps) {
    for (const KnownDefinition& known : kKnown) {
      if (known.ignore_merges >= 0 && (known.ignore_merges == 1) != ignore_merges) continue;
      if (!matches(known, steps)) continue;
      found.name = known.name;
      return found;
    }
  }
  std::string definition = json::serialize(pre_tokenizer);
  if (definition.size() > 400) definition = definition.substr(0, 400) + "...";
  return Error{ErrorCode::kUnsupported, label + ": unknown pre-tokenizer (ignore_merges " +
                                            (ignore_merges ? "true" : "false") +
                                            "): " + definition};
}

}  // namespace realm::hf
