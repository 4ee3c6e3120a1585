#include "text/chat_template_model.h"

#include <algorithm>
#include <vector>

#include "text/chat_template_builtin.h"

namespace realm {
namespace {

constexpr std::string_view kTemplateKey = "tokenizer.chat_template";
constexpr std::string_view kToolTemplateKey = "tokenizer.chat_template.tool_use";
constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";

// A token that only models made for that template have; the first that is there decides.
struct Sign {
  std::string_view token;
  std::string_view builtin;
};
constexpr Sign kSigns[] = {
    {"<|start_header_id|>", "llama3"}, {"<|header_start|>", "llama4"},
    {"<start_of_turn>", "gemma"},      {"<|START_OF_TURN_TOKEN|>", "command-r"},
    {"<|start_of_role|>", "granite"},  {"<｜User｜>", "deepseek3"},
    {"<|im_middle|>", "kimi-k2"},      {"<|im_sep|>", "phi4"},
    {"<|im_start|>", "chatml"},        {"[|endofturn|]", "exaone3"},
    {"<seed:bos>", "seed-oss"},        {"[SYSTEM_PROMPT]", "mistral-v7-tekken"},
    {"[INST]", "mistral-v3"},          {"<|end|>", "phi3"},
};

}  // namespace

Result<ChatTemplateSource> chat_template_source(const Metadata& metadata, bool with_tools) {
  const std::string_view key =
      with_tools && metadata.contains(kToolTemplateKey) ? kToolTemplateKey : kTemplateKey;
  if (metadata.contains(key)) {
    return ChatTemplateSource{TRY(metadata.get_string(key)), std::string(key)};
  }
  if (metadata.contains(kTokensKey)) {
    const std::vector<std::string>& tokens = *TRY(metadata.get_strings(kTokensKey));
    for (const Sign& sign : kSigns) {
      if (std::find(tokens.begin(), tokens.end(), sign.token) == tokens.end()) continue;
      return ChatTemplateSource{TRY(find_builtin_template(sign.builtin)),
                                "built-in " + std::string(sign.builtin)};
    }
  }
  return Error{ErrorCode::kNotFound,
               "the model has no chat template (" + std::string(kTemplateKey) +
                   ") and no special tokens that tell which one it was made for; give one"};
}

Result<ChatTemplateTokens> chat_template_tokens(const Metadata& metadata) {
  ChatTemplateTokens out;
  if (!metadata.contains(kTokensKey)) return out;
  const std::vector<std::string>& tokens = *TRY(metadata.get_strings(kTokensKey));
  const std::pair<std::string_view, std::string*> roles[] = {
      {"tokenizer.ggml.bos_token_id", &out.bos},
      {"tokenizer.ggml.eos_token_id", &out.eos},
      {"tokenizer.ggml.unknown_token_id", &out.unk},
      {"tokenizer.ggml.padding_token_id", &out.pad},
  };
  for (const auto& [key, text] : roles) {
    if (!metadata.contains(key)) continue;
    // Some files write -1 or the largest number for "none".
    const int64_t id = TRY(metadata.get_int(key, -1, UINT32_MAX));
    if (id == -1 || id == UINT32_MAX) continue;
    if (id >= static_cast<int64_t>(tokens.size())) {
      return Error{ErrorCode::kBadModel, std::string(key) + " is " + std::to_string(id) +
                                             ", but the vocabulary has " +
                                             std::to_string(tokens.size()) + " tokens"};
    }
    *text = tokens[static_cast<size_t>(id)];
  }
  return out;
}

Result<ChatTemplate> chat_template_of(const Metadata& metadata, bool with_tools) {
  const ChatTemplateSource source = TRY(chat_template_source(metadata, with_tools));
  Result<ChatTemplate> compiled =
      ChatTemplate::compile(source.source, TRY(chat_template_tokens(metadata)));
  if (!compiled.ok()) return compiled.error().at(source.label);
  return compiled;
}

}  // namespace realm
