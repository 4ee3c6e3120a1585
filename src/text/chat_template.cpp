#include "text/chat_template.h"

#include <vector>

#include "realm_ffi.h"

namespace realm {
namespace {

realm_ffi_slice slice(std::string_view text) {
  return {text.data(), text.size()};
}

std::string take(realm_ffi_text text) {
  std::string out(text.data, text.size);
  realm_ffi_text_free(text);
  return out;
}

Error to_error(realm_ffi_status status, std::string message) {
  switch (status) {
    case REALM_FFI_BAD_SOURCE:
      return {ErrorCode::kBadModel, "chat template: " + message};
    case REALM_FFI_LIMIT:
      return {ErrorCode::kExhausted, "chat template: " + message};
    case REALM_FFI_PANIC:
      return {ErrorCode::kUnavailable, "chat template: " + message};
    case REALM_FFI_OK:
    case REALM_FFI_BAD_INPUT:
      break;
  }
  return {ErrorCode::kInvalidArgument, "chat template: " + message};
}

}  // namespace

void ChatTemplate::Free::operator()(realm_template* compiled) const {
  realm_template_free(compiled);
}

Result<ChatTemplate> ChatTemplate::compile(std::string_view source, ChatTemplateTokens tokens) {
  realm_template* compiled = nullptr;
  realm_ffi_text error{};
  const realm_ffi_status status = realm_template_compile(slice(source), &compiled, &error);
  std::string message = take(error);
  if (status != REALM_FFI_OK) return to_error(status, std::move(message));
  return ChatTemplate(compiled, std::move(tokens));
}

Result<std::string> ChatTemplate::render(const ChatTemplateInput& input) const {
  std::vector<realm_template_variable> variables;
  auto add_text = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) variables.push_back({slice(name), slice(value), REALM_TEMPLATE_TEXT});
  };
  auto add_json = [&](std::string_view name, std::string_view value) {
    variables.push_back({slice(name), slice(value), REALM_TEMPLATE_JSON});
  };
  add_text("bos_token", tokens_.bos);
  add_text("eos_token", tokens_.eos);
  add_text("unk_token", tokens_.unk);
  add_text("pad_token", tokens_.pad);
  add_json("messages", input.messages_json);
  add_json("tools", input.tools_json.empty() ? "null" : input.tools_json);
  add_json("documents", input.documents_json.empty() ? "null" : input.documents_json);
  add_json("add_generation_prompt", input.add_generation_prompt ? "true" : "false");
  if (!input.variables_json.empty()) {
    variables.push_back(
        {slice("variables"), slice(input.variables_json), REALM_TEMPLATE_JSON_ENTRIES});
  }

  constexpr uint64_t kStepsPerByte = 32;
  const uint64_t input_bytes = input.messages_json.size() + input.tools_json.size() +
                               input.documents_json.size() + input.variables_json.size();
  const realm_template_limits limits{input.limits.steps_max + kStepsPerByte * input_bytes,
                                     input.limits.output_bytes_max};
  realm_ffi_text out{};
  const realm_ffi_status status =
      realm_template_render(compiled_.get(), variables.data(), variables.size(),
                            {input.now.unix_us, input.now.utc_offset_s}, limits, &out);
  std::string text = take(out);
  if (status != REALM_FFI_OK) return to_error(status, std::move(text));
  return text;
}

bool ChatTemplate::reads(std::string_view variable) const {
  return realm_template_reads(compiled_.get(), slice(variable));
}

}  // namespace realm
