#include "formats/hf/tokenizer_json.h"

#include <boost/json/serialize.hpp>
#include <unordered_map>

#include "formats/hf/pre_tokenizers.h"
#include "formats/json.h"
#include "formats/tensor_directory.h"

namespace realm::hf {
namespace json = boost::json;

namespace {

constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
constexpr std::string_view kSpaceSymbol = "\xe2\x96\x81";  // U+2581, sentencepiece's space

Error unsupported(const std::string& label, const std::string& what, const json::value& value) {
  std::string definition = json::serialize(value);
  if (definition.size() > 400) definition = definition.substr(0, 400) + "...";
  return Error{ErrorCode::kUnsupported, label + ": " + what + ": " + definition};
}

Status read_vocab(const JsonObject& model, Vocabulary& vocabulary) {
  const JsonObject vocab = TRY(model.get_object("vocab"));
  const int64_t size = static_cast<int64_t>(vocab.raw().size());
  if (size == 0) return model.bad("vocab", "is empty");
  std::vector<bool> seen;
  for (const auto& [key, value] : vocab.raw()) {
    if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() >= kMaxTokens) {
      return vocab.bad(key, "expected a token id in [0, " + std::to_string(kMaxTokens) + ")");
    }
    const size_t id = static_cast<size_t>(value.get_int64());
    if (id >= seen.size()) seen.resize(id + 1);
    if (seen[id]) return vocab.bad(key, "token id " + std::to_string(id) + " is there twice");
    seen[id] = true;
    vocabulary.set_token(value.get_int64(), std::string(key), 0.0, kNormalToken);
  }
  return {};
}

struct Merge {
  std::string left, right;
};

// "left right", or since tokenizers 0.20 ["left", "right"], where either may hold spaces.
Result<Merge> read_merge(const json::value& value, const JsonObject& model, size_t index) {
  if (value.is_string()) {
    const std::string_view text(value.get_string().data(), value.get_string().size());
    const size_t space = text.find(' ', 1);
    if (space != std::string_view::npos && space + 1 < text.size()) {
      return Merge{std::string(text.substr(0, space)), std::string(text.substr(space + 1))};
    }
  } else if (value.is_array() && value.get_array().size() == 2) {
    const json::array& pair = value.get_array();
    if (pair[0].is_string() && pair[1].is_string() && !pair[0].get_string().empty() &&
        !pair[1].get_string().empty()) {
      return Merge{std::string(pair[0].get_string()), std::string(pair[1].get_string())};
    }
  }
  return model.bad("merges", "entry " + std::to_string(index) + " is not a pair of tokens");
}

Result<std::vector<Merge>> read_merges(const JsonObject& model) {
  std::vector<Merge> merges;
  const json::array& array = *TRY(model.get_array("merges"));
  merges.reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    merges.push_back(TRY(read_merge(array[i], model, i)));
  }
  return merges;
}

// GGUF joins a merge with a space, so a space inside a token is written as the byte-level alphabet
// writes it: U+0120.
std::string without_spaces(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ') {
      out += "\xc4\xa0";
    } else {
      out += c;
    }
  }
  return out;
}

// NFC leaves nearly all text as it is, and GGUF has no key for it: other users of these names do
// without as well.
bool is_neutral_normalizer(const json::value* normalizer) {
  if (normalizer == nullptr) return true;
  const json::object& object = normalizer->get_object();
  const json::value* type = object.if_contains("type");
  if (type == nullptr || !type->is_string()) return false;
  if (type->get_string() == "NFC") return true;
  const json::value* steps = object.if_contains("normalizers");
  if (type->get_string() != "Sequence" || steps == nullptr || !steps->is_array()) return false;
  for (const json::value& step : steps->get_array()) {
    const json::value* step_type =
        step.is_object() ? step.get_object().if_contains("type") : nullptr;
    if (step_type == nullptr || !step_type->is_string() || step_type->get_string() != "NFC") {
      return false;
    }
  }
  return true;
}

Status read_byte_level(const JsonObject& file, const JsonObject& model, Vocabulary& vocabulary) {
  vocabulary.model = "gpt2";
  const json::value* normalizer = file.find("normalizer");
  if (normalizer != nullptr && !normalizer->is_object()) {
    return file.bad("normalizer", "expected an object");
  }
  if (!is_neutral_normalizer(normalizer)) {
    return unsupported(file.label(), "normalizer is not supported", *normalizer);
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!TRY(model.get_string_or(affix, "")).empty()) {
      return Error{ErrorCode::kUnsupported,
                   model.label() + ": field '" + affix + "' is not supported"};
    }
  }
  const bool ignore_merges = TRY(model.get_bool_or("ignore_merges", false));
  const PreTokenizer pre =
      TRY(recognize_pre_tokenizer(*file.find("pre_tokenizer"), ignore_merges, file.label()));
  if (pre.add_prefix_space) {
    return unsupported(file.label(), "byte-level BPE that puts a space before a text",
                       *file.find("pre_tokenizer"));
  }
  vocabulary.pre = pre.name;
  TRY(read_vocab(model, vocabulary));
  for (const Merge& merge : TRY(read_merges(model))) {
    vocabulary.merges.push_back(without_spaces(merge.left) + " " + without_spaces(merge.right));
  }
  return {};
}

// Whether the sentencepiece-like file puts a space before a text: a Prepend normalizer, or a
// Metaspace pre-tokenizer.
bool prepends_space(const json::value* step) {
  if (step == nullptr || !step->is_object()) return false;
  const json::object& object = step->get_object();
  const auto text = [&](const char* key) {
    const json::value* value = object.if_contains(key);
    return value != nullptr && value->is_string() ? std::string_view(value->get_string())
                                                  : std::string_view();
  };
  if (text("type") == "Prepend") return text("prepend") == kSpaceSymbol;
  if (text("type") == "Metaspace") {
    if (object.if_contains("prepend_scheme") != nullptr) return text("prepend_scheme") != "never";
    const json::value* flag = object.if_contains("add_prefix_space");
    return flag == nullptr || (flag->is_bool() && flag->get_bool());
  }
  for (const char* list : {"normalizers", "pretokenizers"}) {
    const json::value* steps = object.if_contains(list);
    if (steps == nullptr || !steps->is_array()) continue;
    for (const json::value& inner : steps->get_array()) {
      if (prepends_space(&inner)) return true;
    }
  }
  return false;
}

bool is_byte_token(std::string_view text) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.substr(0, 3) == "<0x" && is_hex(text[3]) && is_hex(text[4]) &&
         text[5] == '>';
}

// A token's score is minus the rank of the first merge that makes it, so that a tokenizer which
// joins the neighbours of the highest score joins in the order of the merges.
Status read_byte_fallback(const JsonObject& file, const JsonObject& model, Vocabulary& vocabulary) {
  vocabulary.model = "llama";
  vocabulary.pre = "default";
  vocabulary.add_space_prefix =
      prepends_space(file.find("normalizer")) || prepends_space(file.find("pre_tokenizer"));
  TRY(read_vocab(model, vocabulary));
  std::unordered_map<std::string, double> scores;
  double rank = 0;
  for (const Merge& merge : TRY(read_merges(model))) {
    scores.emplace(merge.left + merge.right, -rank);
    rank += 1;
  }
  const std::string unknown = TRY(model.get_string_or("unk_token", ""));
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& token = vocabulary.tokens[i];
    const auto score = scores.find(token);
    vocabulary.scores[i] = score != scores.end() ? score->second : -rank;
    if (is_byte_token(token)) vocabulary.types[i] = kByteToken;
    if (!unknown.empty() && token == unknown) {
      vocabulary.types[i] = kUnknownToken;
      vocabulary.unk_id = static_cast<int64_t>(i);
    }
  }
  return {};
}

Status read_added_tokens(const JsonObject& file, Vocabulary& vocabulary) {
  if (!file.has("added_tokens")) return {};
  for (const json::value& value : *TRY(file.get_array("added_tokens"))) {
    const JsonObject token = TRY(JsonObject::from(value, file.label() + ": added_tokens"));
    const int64_t id = TRY(token.get_int("id", 0, kMaxTokens - 1));
    std::string text = TRY(token.get_string("content"));
    const bool control = TRY(token.get_bool_or("special", false)) || looks_like_control_token(text);
    int64_t type = control ? kControlToken : kUserDefinedToken;
    if (id == vocabulary.unk_id) type = kUnknownToken;
    const double score = static_cast<size_t>(id) < vocabulary.scores.size()
                             ? vocabulary.scores[static_cast<size_t>(id)]
                             : 0.0;
    vocabulary.set_token(id, std::move(text), score, type);
  }
  return {};
}

// The text of a template's item where that is a special token.
std::string special_token_of(const json::value& item) {
  if (!item.is_object()) return "";
  const json::value* special = item.get_object().if_contains("SpecialToken");
  if (special == nullptr || !special->is_object()) return "";
  const json::value* id = special->get_object().if_contains("id");
  return id != nullptr && id->is_string() ? std::string(id->get_string()) : "";
}

Status read_post_processor(const json::value& value, const std::string& label, int depth,
                           Vocabulary& vocabulary) {
  if (depth > 4) {
    return Error{ErrorCode::kBadModel, label + ": post_processor is nested too deeply"};
  }
  const JsonObject object = TRY(JsonObject::from(value, label + ": post_processor"));
  const std::string type = TRY(object.get_string("type"));
  if (type == "Sequence") {
    for (const json::value& step : *TRY(object.get_array("processors"))) {
      TRY(read_post_processor(step, label, depth + 1, vocabulary));
    }
  } else if (type == "TemplateProcessing") {
    const json::array& single = *TRY(object.get_array("single"));
    if (single.empty()) return object.bad("single", "is empty");
    vocabulary.has_template = true;
    vocabulary.template_first = special_token_of(single.front());
    if (single.size() > 1) vocabulary.template_last = special_token_of(single.back());
  }
  return {};
}

}  // namespace

bool looks_like_control_token(std::string_view text) {
  const auto framed = [&](std::string_view open, std::string_view close) {
    return text.size() > open.size() + close.size() && text.substr(0, open.size()) == open &&
           text.substr(text.size() - close.size()) == close;
  };
  return framed("<|", "|>") || framed("<\xef\xbd\x9c", "\xef\xbd\x9c>");  // U+FF5C, DeepSeek's bar
}

Result<Vocabulary> parse_tokenizer_json(std::string_view text, const std::string& label) {
  const json::value root = TRY(parse_json(text, label, {kMaxTokenizerBytes, 32}));
  const JsonObject file = TRY(JsonObject::from(root, label));
  const JsonObject model = TRY(file.get_object("model"));
  // Files of before 2021 leave the type out; then the content tells.
  const std::string type = TRY(model.get_string_or("type", model.has("merges") ? "BPE" : ""));
  if (type != "BPE") {
    return Error{ErrorCode::kUnsupported,
                 label + ": tokenizer model " + quoted_name(type) + " is not supported; BPE is"};
  }
  Vocabulary vocabulary;
  if (TRY(model.get_bool_or("byte_fallback", false))) {
    TRY(read_byte_fallback(file, model, vocabulary));
  } else if (file.has("pre_tokenizer")) {
    TRY(read_byte_level(file, model, vocabulary));
  } else {
    return Error{ErrorCode::kUnsupported,
                 label + ": a BPE without byte fallback and without a pre-tokenizer"};
  }
  TRY(read_added_tokens(file, vocabulary));
  if (const json::value* post = file.find("post_processor")) {
    TRY(read_post_processor(*post, label, 0, vocabulary));
  }
  return vocabulary;
}

}  // namespace realm::hf
