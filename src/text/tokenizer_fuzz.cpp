// Arbitrary text through one fixed vocabulary of each kind: no crash, ids in range, and the same
// text back where the kind is lossless. The first byte picks the vocabulary and the options.
#include <array>
#include <cstdlib>

#include "text/detokenizer.h"
#include "text/test_vocabulary.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

using namespace realm;
using test::Entry;

std::unique_ptr<Tokenizer> create(const Metadata& metadata) {
  auto tokenizer = Tokenizer::create(metadata);
  if (!tokenizer.ok()) std::abort();
  return std::move(*tokenizer);
}

std::vector<std::unique_ptr<Tokenizer>> create_all() {
  std::vector<std::unique_ptr<Tokenizer>> all;
  for (const char* pre : {"gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "deepseek-v3", "gpt-4o",
                          "tekken", "jais-2", "tiny_aya", "exaone-moe", "kimi-k2", "chameleon"}) {
    all.push_back(
        create(test::bpe_metadata(pre, {"h e", "a b", "ab ab", "Ġ a", "Ċ Ċ"},
                                  {{"<t>", test::kUserDefined}, {"<c>", test::kControl}})));
  }
  const std::vector<Entry> sentence = test::spm_entries({{"▁", test::kNormal, -1},
                                                         {"a", test::kNormal, -2},
                                                         {"b", test::kNormal, -2},
                                                         {"ab", test::kNormal, -3},
                                                         {"▁a", test::kNormal, -3},
                                                         {"aab", test::kUnused, -1},
                                                         {"<t>", test::kUserDefined}});
  all.push_back(create(test::make_metadata("llama", sentence)));
  Metadata unigram = test::make_metadata("t5", sentence);
  all.push_back(create(unigram));
  Metadata gemma = test::make_metadata("gemma4", sentence);
  gemma.set_strings("tokenizer.ggml.merges", {"a b", "▁ a"});
  gemma.set_uint32("tokenizer.ggml.bos_token_id", 1);
  all.push_back(create(gemma));
  all.push_back(create(test::make_metadata("bert", {{"[PAD]", test::kControl},
                                                    {"[UNK]", test::kControl},
                                                    {"[CLS]", test::kControl},
                                                    {"[SEP]", test::kControl},
                                                    {"▁a"},
                                                    {"b"},
                                                    {"▁!"}})));
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::unique_ptr<Tokenizer>> all = create_all();
  if (size == 0) return 0;
  const Tokenizer& tokenizer = *all[(data[0] & 0x3f) % all.size()];
  const EncodeOptions options{(data[0] & 0x40) != 0, (data[0] & 0x80) != 0};
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto ids = tokenizer.encode(text, options);
  const bool valid = find_invalid_utf8(text) == std::string_view::npos;
  if (ids.ok() != valid) std::abort();
  if (!valid) return 0;
  StreamingDetokenizer stream(tokenizer, true, true);
  std::string streamed;
  for (const Token id : *ids) {
    if (!tokenizer.contains(id)) std::abort();
    streamed += stream.push(id);
  }
  streamed += stream.finish();
  if (find_invalid_utf8(streamed) != std::string::npos) std::abort();
  const bool lossless = tokenizer.model() == "gpt2" && !options.add_bos_eos;
  if (lossless && (streamed != text || tokenizer.decode(*ids) != text)) std::abort();
  return 0;
}
