#include "formats/hf/tokenizer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "base/file.h"
#include "formats/hf/sentencepiece.h"
#include "formats/hf/tokenizer_json.h"
#include "formats/tensor_directory.h"

namespace realm::hf {
namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

// The JSON files of the folder that may be absent.
struct Configs {
  json::value tokenizer, generation, special_tokens;

  static Result<json::value> read(const fs::path& path) {
    if (!fs::exists(path)) return json::value(json::object());
    json::value value = TRY(read_json_file(path.string(), {kMaxConfigBytes, 32}));
    TRY(JsonObject::from(value, path.string()));
    return value;
  }
};

Result<Vocabulary> read_sentencepiece(const fs::path& path) {
  const MappedFile file = TRY(MappedFile::open(path.string()));
  return parse_sentencepiece(file.bytes(), path.string());
}

Result<Vocabulary> read_tokenizer_json(const fs::path& path) {
  const MappedFile file = TRY(MappedFile::open(path.string()));
  const auto bytes = file.bytes();
  return parse_tokenizer_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                              path.string());
}

// Tokens that a tokenizer_config.json adds to a sentencepiece vocabulary, or whose role it changes.
Status read_added_tokens_decoder(const JsonObject& config, Vocabulary& vocabulary) {
  if (!config.has("added_tokens_decoder")) return {};
  const JsonObject added = TRY(config.get_object("added_tokens_decoder"));
  for (const auto& [key, value] : added.raw()) {
    int64_t id = -1;
    if (!key.empty() && key.size() <= 8 &&
        std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      id = std::stoll(std::string(key));
    }
    if (id < 0 || id >= kMaxTokens) return added.bad(key, "expected a token id as the key");
    const JsonObject token = TRY(JsonObject::from(value, added.label() + ": " + std::string(key)));
    std::string text = TRY(token.get_string("content"));
    const bool control = TRY(token.get_bool_or("special", false)) || looks_like_control_token(text);
    const bool known = static_cast<size_t>(id) < vocabulary.tokens.size();
    const size_t index = static_cast<size_t>(id);
    if (known && vocabulary.tokens[index] == text &&
        (vocabulary.types[index] == kUnknownToken || vocabulary.types[index] == kControlToken)) {
      continue;
    }
    vocabulary.set_token(id, std::move(text),
                         known && !vocabulary.scores.empty() ? vocabulary.scores[index] : -1000.0,
                         control ? kControlToken : kUserDefinedToken);
  }
  return {};
}

struct Role {
  const char* name;  // in *_token and *_token_id fields
  const char* gguf_key;
};

constexpr Role kRoles[] = {
    {"bos", "tokenizer.ggml.bos_token_id"},     {"eos", "tokenizer.ggml.eos_token_id"},
    {"unk", "tokenizer.ggml.unknown_token_id"}, {"sep", "tokenizer.ggml.seperator_token_id"},
    {"pad", "tokenizer.ggml.padding_token_id"}, {"mask", "tokenizer.ggml.mask_token_id"},
};

// "text", or {"content": "text", ...}; empty where absent.
Result<std::string> token_text(const JsonObject& config, const std::string& key) {
  const json::value* value = config.find(key);
  if (value == nullptr) return std::string();
  if (value->is_object()) return TRY(config.get_object(key)).get_string("content");
  return config.get_string(key);
}

// An id, or a list of ids of which all are returned.
Result<std::vector<int64_t>> token_ids(const JsonObject& config, const std::string& key,
                                       int64_t num_tokens) {
  const json::value* value = config.find(key);
  std::vector<int64_t> ids;
  if (value == nullptr) return ids;
  if (value->is_array()) {
    for (const json::value& element : value->get_array()) {
      if (!element.is_int64() || element.get_int64() < 0 || element.get_int64() >= num_tokens) {
        return config.bad(key, "expected token ids in [0, " + std::to_string(num_tokens) + ")");
      }
      ids.push_back(element.get_int64());
    }
    return ids;
  }
  // -1 stands for none in some configs.
  const int64_t id = TRY(config.get_int(key, -1, num_tokens - 1));
  if (id >= 0) ids.push_back(id);
  return ids;
}

class RoleFinder {
 public:
  RoleFinder(const Vocabulary& vocabulary, const std::vector<JsonObject>& text_sources,
             const std::vector<JsonObject>& id_sources)
      : vocabulary_(vocabulary), text_sources_(text_sources), id_sources_(id_sources) {
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      ids_.emplace(vocabulary.tokens[i], static_cast<int64_t>(i));
    }
  }

  int64_t id_of(const std::string& text) const {
    const auto it = ids_.find(text);
    return it == ids_.end() ? -1 : it->second;
  }

  // By the token's text in the tokenizer's configs, then by id in the model's, then as the
  // vocabulary file says.
  Result<int64_t> find(const std::string& role) const {
    for (const JsonObject& source : text_sources_) {
      const std::string text = TRY(token_text(source, role + "_token"));
      if (text.empty()) continue;
      const int64_t id = id_of(text);
      if (id >= 0) return id;
      return source.bad(role + "_token", "the vocabulary has no token " + quoted_name(text));
    }
    for (const JsonObject& source : id_sources_) {
      const auto ids = TRY(
          token_ids(source, role + "_token_id", static_cast<int64_t>(vocabulary_.tokens.size())));
      if (!ids.empty()) return ids.front();
    }
    if (role == "unk") return vocabulary_.unk_id;
    if (role == "bos") return vocabulary_.bos_id;
    if (role == "eos") return vocabulary_.eos_id;
    if (role == "pad") return vocabulary_.pad_id;
    return int64_t{-1};
  }

  // All ids that end a generation, as the model's configs list them.
  Result<std::vector<int64_t>> all_eos() const {
    std::vector<int64_t> all;
    for (const JsonObject& source : id_sources_) {
      for (const int64_t id : TRY(token_ids(source, "eos_token_id",
                                            static_cast<int64_t>(vocabulary_.tokens.size())))) {
        if (std::find(all.begin(), all.end(), id) == all.end()) all.push_back(id);
      }
    }
    return all;
  }

 private:
  const Vocabulary& vocabulary_;
  const std::vector<JsonObject>& text_sources_;
  const std::vector<JsonObject>& id_sources_;
  std::unordered_map<std::string, int64_t> ids_;
};

Status set_roles(const RoleFinder& finder, Metadata& metadata) {
  int64_t eos = -1;
  for (const Role& role : kRoles) {
    const int64_t id = TRY(finder.find(role.name));
    if (id < 0) continue;
    metadata.set_uint32(role.gguf_key, static_cast<uint32_t>(id));
    if (std::string_view(role.name) == "eos") eos = id;
  }
  // Further ends of generation go to the two keys that GGUF has for such: end of turn, of message.
  const char* const further_keys[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
  size_t used = 0;
  for (const int64_t id : TRY(finder.all_eos())) {
    if (id == eos) continue;
    if (used == std::size(further_keys)) {
      spdlog::warn("more than three end tokens: GGUF has no key for token {}", id);
      continue;
    }
    metadata.set_uint32(further_keys[used++], static_cast<uint32_t>(id));
  }
  return {};
}

Result<bool> adds_token(const JsonObject& config, const char* key, const Vocabulary& vocabulary,
                        const std::string& template_token, bool fallback) {
  if (config.has(key)) return config.get_bool_or(key, fallback);
  if (vocabulary.has_template) return !template_token.empty();
  return fallback;
}

Status add_chat_templates(const std::string& folder, const JsonObject& config, Metadata& metadata) {
  const std::string key = "tokenizer.chat_template";
  const fs::path jinja = fs::path(folder) / "chat_template.jinja";
  const json::value* value = config.find("chat_template");
  if (value != nullptr && value->is_array()) {
    for (const json::value& element : value->get_array()) {
      const JsonObject entry = TRY(JsonObject::from(element, config.label() + ": chat_template"));
      const std::string name = TRY(entry.get_string("name"));
      metadata.set_string(name == "default" ? key : key + "." + name,
                          TRY(entry.get_string("template")));
    }
  } else if (value != nullptr) {
    metadata.set_string(key, TRY(config.get_string("chat_template")));
  }
  // The file is newer than the field, and wins where both are there, as in transformers.
  if (fs::exists(jinja)) {
    metadata.set_string(key, TRY(read_text_file(jinja.string(), kMaxTemplateBytes)));
  }
  return {};
}

void set_vocabulary(Vocabulary vocabulary, Metadata& metadata) {
  metadata.set_string("tokenizer.ggml.model", vocabulary.model);
  metadata.set_string("tokenizer.ggml.pre", vocabulary.pre);
  metadata.set_strings("tokenizer.ggml.tokens", std::move(vocabulary.tokens));
  if (!vocabulary.scores.empty()) {
    metadata.set_floats("tokenizer.ggml.scores", std::move(vocabulary.scores));
  }
  metadata.set_int32s("tokenizer.ggml.token_type", std::move(vocabulary.types));
  if (vocabulary.model == "gpt2") {
    metadata.set_strings("tokenizer.ggml.merges", std::move(vocabulary.merges));
  }
  if (vocabulary.add_space_prefix) {
    metadata.set_bool("tokenizer.ggml.add_space_prefix", *vocabulary.add_space_prefix);
  }
  if (vocabulary.remove_extra_whitespaces) {
    metadata.set_bool("tokenizer.ggml.remove_extra_whitespaces",
                      *vocabulary.remove_extra_whitespaces);
  }
  if (!vocabulary.precompiled_charsmap.empty()) {
    std::vector<uint64_t> bytes;
    for (const char c : vocabulary.precompiled_charsmap) {
      bytes.push_back(static_cast<unsigned char>(c));
    }
    metadata.set("tokenizer.ggml.precompiled_charsmap",
                 {MetadataArray(std::move(bytes)), GgufType::kUint8});
  }
}

}  // namespace

Status add_tokenizer(const std::string& folder, const JsonObject& config, int64_t vocab_size,
                     Metadata& metadata) {
  const fs::path sentencepiece = fs::path(folder) / "tokenizer.model";
  const fs::path tokenizer_json = fs::path(folder) / "tokenizer.json";
  const json::value tokenizer_value =
      TRY(Configs::read(fs::path(folder) / "tokenizer_config.json"));
  const json::value generation_value =
      TRY(Configs::read(fs::path(folder) / "generation_config.json"));
  const json::value special_value =
      TRY(Configs::read(fs::path(folder) / "special_tokens_map.json"));
  const JsonObject tokenizer_config(tokenizer_value.get_object(),
                                    folder + "/tokenizer_config.json");
  const JsonObject generation_config(generation_value.get_object(),
                                     folder + "/generation_config.json");
  const JsonObject special_tokens(special_value.get_object(), folder + "/special_tokens_map.json");

  Vocabulary vocabulary;
  if (fs::exists(sentencepiece)) {
    vocabulary = TRY(read_sentencepiece(sentencepiece));
    TRY(read_added_tokens_decoder(tokenizer_config, vocabulary));
  } else if (fs::exists(tokenizer_json)) {
    vocabulary = TRY(read_tokenizer_json(tokenizer_json));
  } else {
    spdlog::warn("{}: no tokenizer.json and no tokenizer.model; the model will take token ids only",
                 folder);
    return {};
  }
  if (static_cast<int64_t>(vocabulary.tokens.size()) > vocab_size) {
    return config.bad("vocab_size", std::to_string(vocab_size) + " is less than the " +
                                        std::to_string(vocabulary.tokens.size()) +
                                        " tokens of the tokenizer");
  }
  if (vocab_size > static_cast<int64_t>(vocabulary.tokens.size())) {
    vocabulary.set_token(vocab_size - 1, "[PAD" + std::to_string(vocab_size - 1) + "]", -10000.0,
                         kUnusedToken);
  }

  const std::vector<JsonObject> text_sources = {tokenizer_config, special_tokens};
  const std::vector<JsonObject> id_sources = {generation_config, config};
  const RoleFinder finder(vocabulary, text_sources, id_sources);
  // Without a word from the files, sentencepiece's Llama tokenizer class puts BOS before a text.
  const bool is_sentencepiece = vocabulary.model != "gpt2";
  const bool add_bos = TRY(adds_token(tokenizer_config, "add_bos_token", vocabulary,
                                      vocabulary.template_first, is_sentencepiece));
  const bool add_eos = TRY(
      adds_token(tokenizer_config, "add_eos_token", vocabulary, vocabulary.template_last, false));
  TRY(set_roles(finder, metadata));
  if (vocabulary.has_template && add_bos && !vocabulary.template_first.empty()) {
    // What the template puts first is what the model was trained on, whatever it is called.
    const int64_t first = finder.id_of(vocabulary.template_first);
    if (first >= 0)
      metadata.set_uint32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(first));
  }
  metadata.set_bool("tokenizer.ggml.add_bos_token", add_bos);
  metadata.set_bool("tokenizer.ggml.add_eos_token", add_eos);
  set_vocabulary(std::move(vocabulary), metadata);
  return add_chat_templates(folder, config.has("chat_template") ? config : tokenizer_config,
                            metadata);
}

}  // namespace realm::hf
