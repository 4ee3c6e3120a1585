// Any bytes as a template, rendered over a fixed conversation under small limits. A first byte of
// 1 gives the rest to the conversation instead: JSON that a fixed template walks through.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/chat_template.h"

namespace {

constexpr std::string_view kMessages =
    R"([{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"é"}]},)"
    R"({"role":"assistant","content":null,"tool_calls":[{"type":"function","function":)"
    R"({"name":"f","arguments":{"a":[1,2.5,true,null],"b":{"c":"d"}}}}]}])";
constexpr std::string_view kTools =
    R"([{"type":"function","function":{"name":"f","parameters":{"properties":{"a":{}}}}}])";
constexpr std::string_view kWalk =
    "{% for m in messages %}{{ m }}{{ m|tojson(indent=2) }}{% for k, v in m.items() %}{{ k ~ v }}"
    "{{ v|string|upper|trim|length }}{% endfor %}{% endfor %}{{ messages|sort|unique|list }}";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace realm;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const bool is_conversation = !input.empty() && input[0] == 1;
  const Result<ChatTemplate> compiled =
      ChatTemplate::compile(is_conversation ? kWalk : input, {.bos = "<s>", .eos = "</s>"});
  if (!compiled.ok()) return 0;
  const Result<std::string> text =
      compiled->render({.messages_json = is_conversation ? input.substr(1) : kMessages,
                        .tools_json = kTools,
                        .now = {1764000000123456, 3600},
                        .limits = {.steps_max = 20'000, .output_bytes_max = 1 << 16}});
  // A panic below is a bug, whatever the input.
  if (!text.ok()) CHECK(text.error().code != ErrorCode::kUnavailable);
  return 0;
}
