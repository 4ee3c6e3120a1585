#include "base/check.h"
#include "formats/synth.h"

namespace realm {
namespace {

// The character that byte-level BPE writes a byte as: printable ones as themselves (as Latin-1),
// the others by U+0100 and up in order.
std::string byte_symbol(int byte, int& next_unprintable) {
  const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
                         (byte >= 0xae && byte <= 0xff);
  const int code = printable ? byte : 0x100 + next_unprintable++;
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
}

constexpr const char* kChatTemplate =
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + "
    "'<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' "
    "}}{%- endif %}";

}  // namespace

void set_synthetic_vocabulary(int size, Metadata& metadata) {
  CHECK(size >= 1024 && size <= 400000);  // words of up to four letters suffice
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<std::string> merges;
  int unprintable = 0;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(byte_symbol(byte, unprintable));

  std::vector<std::string> shorter = {"\xc4\xa0"};  // a space may start a word
  for (char c = 'a'; c <= 'z'; ++c) shorter.emplace_back(1, c);
  while (tokens.size() < static_cast<size_t>(size)) {
    std::vector<std::string> longer;
    for (const std::string& word : shorter) {
      for (char c = 'a'; c <= 'z' && tokens.size() < static_cast<size_t>(size); ++c) {
        merges.push_back(word + " " + c);
        longer.push_back(word + c);
        tokens.push_back(word + c);
      }
    }
    shorter = std::move(longer);
  }
  std::vector<int64_t> types(tokens.size(), 1);
  for (size_t i = 0; i < 3; ++i) types[i] = 3;  // control

  metadata.set_string("tokenizer.ggml.model", "gpt2");
  metadata.set_string("tokenizer.ggml.pre", "gpt-2");
  metadata.set_strings("tokenizer.ggml.tokens", std::move(tokens));
  metadata.set_int32s("tokenizer.ggml.token_type", std::move(types));
  metadata.set_strings("tokenizer.ggml.merges", std::move(merges));
  metadata.set_uint32("tokenizer.ggml.bos_token_id", 0);
  metadata.set_uint32("tokenizer.ggml.eos_token_id", 2);
  metadata.set_uint32("tokenizer.ggml.padding_token_id", 0);
  metadata.set_bool("tokenizer.ggml.add_bos_token", false);
  metadata.set_string("tokenizer.chat_template", kChatTemplate);
}

}  // namespace realm
