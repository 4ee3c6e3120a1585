#include "text/prompt_template.h"

#include <chrono>
#include <ctime>

#include "base/file.h"
#include "text/chat_template_builtin.h"
#include "text/chat_template_model.h"

namespace realm {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

std::string text_of(const Tokenizer& tokenizer, Token token) {
  return token == kNoToken ? std::string() : tokenizer.token_text(token);
}

Result<std::string> find_source(const TensorDirectory& file, const std::string& name) {
  if (name.empty()) {
    Result<ChatTemplateSource> own = chat_template_source(file.metadata(), false);
    if (own.ok()) return std::move(own).value().source;
    if (own.error().code != ErrorCode::kNotFound) return own.error();
    return Error{
        ErrorCode::kNotFound,
        "the model has no chat template: continue plain text with --raw, or name a template "
        "with --chat-template (chatml, llama3, gemma, ... or a .jinja file)"};
  }
  const bool is_path = name.find('/') != std::string::npos || name.ends_with(".jinja");
  return is_path ? read_text_file(name, kMaxTemplateBytes) : find_builtin_template(name);
}

}  // namespace

Result<PromptTemplate> PromptTemplate::create(const TensorDirectory& file,
                                              const Tokenizer& tokenizer, const std::string& name) {
  const std::string source = TRY(find_source(file, name));
  return PromptTemplate(
      TRY(ChatTemplate::compile(source, {.bos = text_of(tokenizer, tokenizer.bos()),
                                         .eos = text_of(tokenizer, tokenizer.eos()),
                                         .unk = text_of(tokenizer, tokenizer.unk()),
                                         .pad = text_of(tokenizer, tokenizer.pad())})));
}

Result<std::string> PromptTemplate::render(std::string_view messages_json,
                                           std::string_view tools_json) const {
  return template_.render({.messages_json = messages_json,
                           .tools_json = tools_json,
                           .documents_json = {},
                           .variables_json = {},
                           .add_generation_prompt = true,
                           .now = current_clock(),
                           .limits = {}});
}

Result<std::vector<Token>> encode_prompt(const Tokenizer& tokenizer, std::string_view prompt,
                                         std::span<const TextSpan> plain) {
  std::vector<Token> tokens =
      TRY(tokenizer.encode(prompt, {.add_bos_eos = false, .parse_special = true, .plain = plain}));
  if (tokenizer.adds_bos() && tokenizer.bos() != kNoToken &&
      (tokens.empty() || tokens.front() != tokenizer.bos())) {
    tokens.insert(tokens.begin(), tokenizer.bos());
  }
  return tokens;
}

ChatTemplateClock current_clock() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return {.unix_us = std::chrono::duration_cast<std::chrono::microseconds>(now).count(),
          .utc_offset_s = static_cast<int32_t>(local.tm_gmtoff)};
}

}  // namespace realm
