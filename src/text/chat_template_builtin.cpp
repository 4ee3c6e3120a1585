#include "text/chat_template_builtin.h"

#include <array>

namespace realm {
namespace {

// text(m): a message's content, also where it is a list of parts.
constexpr std::string_view kPrelude =
    R"({%- macro text(m) -%}
{%- if m.content is string -%}{{ m.content }}
{%- elif m.content -%}{%- for part in m.content if part.text is defined -%}{{ part.text }}{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
)";

struct Builtin {
  std::string_view name;
  std::string_view body;
};

// Where a family has no role for the system message, it goes before the first user message.
// Where a prompt for the answer needs no text of its own (Llama 2, Mistral), none is written.
constexpr Builtin kBuiltins[] = {
    {"chatml", R"({%- for m in messages -%}
{{ '<|im_start|>' + m.role + '\n' + text(m) + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%})"},

    {"llama2", R"({%- set ns = namespace(system='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{%- set ns.system = '<<SYS>>\n' + text(m) + '\n<</SYS>>\n\n' -%}
{%- elif m.role == 'assistant' -%}
{{ ' ' + text(m)|trim + ' ' + eos_token }}
{%- else -%}
{{ bos_token ~ '[INST] ' ~ (ns.system + text(m))|trim ~ ' [/INST]' }}
{%- set ns.system = '' -%}
{%- endif -%}
{%- endfor -%})"},

    {"llama3", R"({{- bos_token -}}
{%- for m in messages -%}
{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + text(m)|trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%})"},

    {"llama4", R"({{- bos_token -}}
{%- for m in messages -%}
{{ '<|header_start|>' + m.role + '<|header_end|>\n\n' + text(m)|trim + '<|eot|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|header_start|>assistant<|header_end|>\n\n' }}{%- endif -%})"},

    {"mistral-v1", R"({{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{%- set ns.system = text(m) + '\n\n' -%}
{%- elif m.role == 'assistant' -%}
{{ ' ' + text(m) + eos_token }}
{%- else -%}
{{ ' [INST] ' + ns.system + text(m) + ' [/INST]' }}
{%- set ns.system = '' -%}
{%- endif -%}
{%- endfor -%})"},

    {"mistral-v3", R"({{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{%- set ns.system = text(m) + '\n\n' -%}
{%- elif m.role == 'assistant' -%}
{{ ' ' + text(m)|trim + eos_token }}
{%- else -%}
{{ '[INST] ' + ns.system + text(m) + '[/INST]' }}
{%- set ns.system = '' -%}
{%- endif -%}
{%- endfor -%})"},

    {"mistral-v3-tekken", R"({{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{%- set ns.system = text(m) + '\n\n' -%}
{%- elif m.role == 'assistant' -%}
{{ text(m) + eos_token }}
{%- else -%}
{{ '[INST]' + ns.system + text(m) + '[/INST]' }}
{%- set ns.system = '' -%}
{%- endif -%}
{%- endfor -%})"},

    {"mistral-v7", R"({{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{ '[SYSTEM_PROMPT] ' + text(m) + '[/SYSTEM_PROMPT]' }}
{%- elif m.role == 'assistant' -%}
{{ ' ' + text(m) + eos_token }}
{%- else -%}
{{ '[INST] ' + text(m) + '[/INST]' }}
{%- endif -%}
{%- endfor -%})"},

    {"mistral-v7-tekken", R"({{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{ '[SYSTEM_PROMPT]' + text(m) + '[/SYSTEM_PROMPT]' }}
{%- elif m.role == 'assistant' -%}
{{ text(m) + eos_token }}
{%- else -%}
{{ '[INST]' + text(m) + '[/INST]' }}
{%- endif -%}
{%- endfor -%})"},

    {"gemma", R"({{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{%- set ns.system = text(m)|trim + '\n\n' -%}
{%- else -%}
{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}
{{- (ns.system if m.role == 'user' else '') + text(m)|trim + '<end_of_turn>\n' }}
{%- if m.role == 'user' -%}{%- set ns.system = '' -%}{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%})"},

    {"phi3", R"({%- for m in messages -%}
{{ '<|' + m.role + '|>\n' + text(m) + '<|end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\n' }}{%- endif -%})"},

    {"phi4", R"({%- for m in messages -%}
{{ '<|im_start|>' + m.role + '<|im_sep|>' + text(m) + '<|im_end|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant<|im_sep|>' }}{%- endif -%})"},

    {"zephyr", R"({%- for m in messages -%}
{{ '<|' + m.role + '|>\n' + text(m) + eos_token + '\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\n' }}{%- endif -%})"},

    {"vicuna", R"({{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{ text(m) + '\n\n' }}
{%- elif m.role == 'assistant' -%}
{{ 'ASSISTANT: ' + text(m) + eos_token + '\n' }}
{%- else -%}
{{ 'USER: ' + text(m) + '\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%})"},

    {"vicuna-orca", R"({{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{ 'SYSTEM: ' + text(m) + '\n' }}
{%- elif m.role == 'assistant' -%}
{{ 'ASSISTANT: ' + text(m) + eos_token + '\n' }}
{%- else -%}
{{ 'USER: ' + text(m) + '\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%})"},

    {"alpaca", R"({{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{ text(m) + '\n\n' }}
{%- elif m.role == 'assistant' -%}
{{ '### Response:\n' + text(m) + eos_token + '\n\n' }}
{%- else -%}
{{ '### Instruction:\n' + text(m) + '\n\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '### Response:\n' }}{%- endif -%})"},

    {"openchat", R"({{- bos_token -}}
{%- for m in messages -%}
{%- if m.role != 'system' -%}{{ 'GPT4 Correct ' + m.role|title + ': ' }}{%- endif -%}
{{ text(m) + '<|end_of_turn|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'GPT4 Correct Assistant:' }}{%- endif -%})"},

    {"command-r", R"({{- bos_token -}}
{%- set tokens = {'system': 'SYSTEM', 'user': 'USER', 'assistant': 'CHATBOT'} -%}
{%- for m in messages -%}
{{ '<|START_OF_TURN_TOKEN|><|' + tokens.get(m.role, 'SYSTEM') + '_TOKEN|>' }}
{{- text(m)|trim + '<|END_OF_TURN_TOKEN|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{%- endif -%})"},

    {"deepseek", R"({{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{ text(m) }}
{%- elif m.role == 'assistant' -%}
{{ '### Response:\n' + text(m) + '\n<|EOT|>\n' }}
{%- else -%}
{{ '### Instruction:\n' + text(m) + '\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '### Response:\n' }}{%- endif -%})"},

    {"deepseek2", R"({{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{ text(m) + '\n\n' }}
{%- elif m.role == 'assistant' -%}
{{ 'Assistant: ' + text(m) + eos_token }}
{%- else -%}
{{ 'User: ' + text(m) + '\n\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%})"},

    {"deepseek3", R"({{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{ text(m) + '\n\n' }}
{%- elif m.role == 'assistant' -%}
{{ '<｜Assistant｜>' + text(m) + eos_token }}
{%- else -%}
{{ '<｜User｜>' + text(m) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<｜Assistant｜>' }}{%- endif -%})"},

    {"granite", R"({%- for m in messages -%}
{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + text(m) + '<|end_of_text|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif -%})"},

    {"falcon3", R"({%- for m in messages -%}
{{ '<|' + m.role + '|>\n' + text(m) + (eos_token if m.role == 'assistant' else '') + '\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\n' }}{%- endif -%})"},

    {"exaone3", R"({%- for m in messages -%}
{{ '[|' + m.role + '|]' + text(m)|trim + ('' if m.role == 'user' else '[|endofturn|]') + '\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '[|assistant|]' }}{%- endif -%})"},

    {"chatglm4", R"({{- '[gMASK]<sop>' -}}
{%- for m in messages -%}
{{ '<|' + m.role + '|>\n' + text(m) }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\n' }}{%- endif -%})"},

    {"minicpm", R"({{- bos_token -}}
{%- for m in messages -%}
{{ '<用户>' + text(m)|trim + '<AI>' if m.role == 'user' else text(m)|trim }}
{%- endfor -%})"},

    {"orion", R"({{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{%- set ns.system = text(m) + '\n\n' -%}
{%- elif m.role == 'assistant' -%}
{{ text(m) + eos_token }}
{%- else -%}
{{ 'Human: ' + ns.system + text(m) + '\n\nAssistant: ' + eos_token }}
{%- set ns.system = '' -%}
{%- endif -%}
{%- endfor -%})"},

    {"kimi-k2", R"({%- for m in messages -%}
{%- set tag = m.role if m.role in ['user', 'assistant'] else 'system' -%}
{{ '<|im_' + tag + '|>' + m.role + '<|im_middle|>' + text(m) + '<|im_end|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_assistant|>assistant<|im_middle|>' }}{%- endif -%})"},

    {"seed-oss", R"({%- for m in messages -%}
{{ '<seed:bos>' + m.role + '\n' + text(m) + '<seed:eos>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<seed:bos>assistant\n' }}{%- endif -%})"},

    {"smolvlm", R"({{- '<|im_start|>' -}}
{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{ text(m) + '\n\n' }}
{%- else -%}
{{ m.role|capitalize + ': ' + text(m) + '<end_of_utterance>\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%})"},

    {"rwkv-world", R"({%- for m in messages -%}
{{ m.role|capitalize + ': ' + text(m)|trim + '\n\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%})"},
};

// Names that users of other programs know for the same template.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"llama2-sys", "llama2"}, {"mistral", "mistral-v3"}, {"gemma2", "gemma"},
    {"glm4", "chatglm4"},     {"seed_oss", "seed-oss"},  {"qwen", "chatml"},
};

constexpr size_t kNumBuiltins = std::size(kBuiltins);

constexpr auto kNames = [] {
  std::array<std::string_view, kNumBuiltins> names{};
  for (size_t i = 0; i < kNumBuiltins; ++i) names[i] = kBuiltins[i].name;
  return names;
}();

}  // namespace

Result<std::string> find_builtin_template(std::string_view name) {
  std::string_view wanted = name;
  for (const auto& [alias, target] : kAliases) {
    if (alias == name) wanted = target;
  }
  for (const Builtin& builtin : kBuiltins) {
    if (builtin.name == wanted) return std::string(kPrelude).append(builtin.body);
  }
  std::string known;
  for (const std::string_view each : kNames) {
    if (!known.empty()) known += ", ";
    known += each;
  }
  return Error{ErrorCode::kNotFound, "there is no built-in chat template named '" +
                                         std::string(name) + "'; there are " + known};
}

std::span<const std::string_view> builtin_template_names() {
  return kNames;
}

}  // namespace realm
