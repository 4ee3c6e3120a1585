// Arbitrary metadata into Tokenizer::create, and text through whatever it accepts. The input is
// read as a small language: each step takes bytes for a key, a type and values, so that most inputs
// come near a real vocabulary.
#include <cstdlib>

#include "text/detokenizer.h"
#include "text/test_vocabulary.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

using namespace realm;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  bool done() const { return at_ >= size_; }
  std::string text() {
    std::string out;
    for (size_t n = byte() % 9; n > 0 && !done(); --n) out += static_cast<char>(byte());
    return out;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

constexpr const char* kModels[] = {"gpt2", "llama", "bert", "t5", "gemma4", "none", "?"};
constexpr const char* kPres[] = {"gpt-2", "llama-bpe", "default", "gemma4", "tekken", "?"};
constexpr const char* kIds[] = {"bos",     "eos",  "eot", "eom",     "unknown", "seperator",
                                "padding", "mask", "cls", "fim_pre", "fim_pad", "prefix"};
constexpr const char* kFlags[] = {"add_bos_token",
                                  "add_eos_token",
                                  "add_space_prefix",
                                  "remove_extra_whitespaces",
                                  "treat_whitespace_as_suffix",
                                  "normalizer.lowercase",
                                  "normalizer.strip_accents"};

Metadata read_metadata(Input& input) {
  std::vector<test::Entry> entries;
  if (input.byte() % 2 == 0) entries = test::spm_entries({});
  for (size_t n = input.byte() % 16; n > 0; --n) {
    entries.push_back({input.text(), input.byte() % 8, static_cast<double>(input.byte()) - 200});
  }
  Metadata metadata = test::make_metadata(kModels[input.byte() % std::size(kModels)], entries);
  metadata.set_string("tokenizer.ggml.pre", kPres[input.byte() % std::size(kPres)]);
  std::vector<std::string> merges;
  for (size_t n = input.byte() % 6; n > 0 && entries.size() > 1; --n) {
    merges.push_back(entries[input.byte() % entries.size()].text + ' ' +
                     entries[input.byte() % entries.size()].text);
  }
  metadata.set_strings("tokenizer.ggml.merges", merges);
  for (size_t n = input.byte() % 8; n > 0; --n) {
    const std::string name = kIds[input.byte() % std::size(kIds)];
    const uint32_t id = input.byte() % 4 == 0 ? 0xffffffffu - input.byte() : input.byte();
    metadata.set_uint32("tokenizer.ggml." + name + "_token_id", id);
  }
  for (size_t n = input.byte() % 8; n > 0; --n) {
    metadata.set_bool(std::string("tokenizer.ggml.") + kFlags[input.byte() % std::size(kFlags)],
                      input.byte() % 2 == 0);
  }
  if (input.byte() % 2 == 0) {
    // A character map of a few units, its header right or not.
    const uint8_t units = input.byte() % 8;
    std::vector<int64_t> map = {input.byte() % 8 == 0 ? input.byte() : units * 4, 0, 0, 0};
    for (int i = 0; i < units * 4 + 6; ++i) map.push_back(input.byte());
    map.push_back(input.byte() % 8 == 0 ? 1 : 0);
    metadata.set("tokenizer.ggml.precompiled_charsmap",
                 MetadataValue{MetadataArray(std::move(map)), GgufType::kUint8});
  }
  return metadata;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const Metadata metadata = read_metadata(input);
  const auto tokenizer = Tokenizer::create(metadata);
  if (!tokenizer.ok()) {
    if (tokenizer.error().message.empty()) std::abort();
    return 0;
  }
  std::string text;
  while (!input.done()) {
    // Mostly text of the vocabulary, so that it meets its own tokens.
    const uint8_t pick = input.byte();
    if (pick < 64) {
      append_utf8(pick, text);
    } else {
      text += (*tokenizer)->token_text(pick % (*tokenizer)->vocab_size());
    }
  }
  for (const bool flag : {false, true}) {
    const auto ids = (*tokenizer)->encode(text, {flag, flag});
    if (!ids.ok()) continue;
    StreamingDetokenizer stream(**tokenizer, flag, flag);
    std::string out;
    for (const Token id : *ids) {
      if (!(*tokenizer)->contains(id)) std::abort();
      out += stream.push(id);
    }
    out += stream.finish();
    if (find_invalid_utf8(out) != std::string::npos) std::abort();
    (*tokenizer)->decode(*ids, flag);
  }
  return 0;
}
