// A tokenizer's vocabulary on its way from Hugging Face's files to GGUF's `tokenizer.ggml.*` keys:
// filled by sentencepiece.cpp or tokenizer_json.cpp, completed and written out by tokenizer.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace realm::hf {

// GGUF's tokenizer.ggml.token_type; the same numbers as sentencepiece's own.
enum TokenType : int64_t {
  kNormalToken = 1,
  kUnknownToken = 2,
  kControlToken = 3,
  kUserDefinedToken = 4,
  kUnusedToken = 5,
  kByteToken = 6,
};

// Token ids are indexes of vectors that are grown to fit, so they are bounded before that.
constexpr int64_t kMaxTokens = int64_t{1} << 20;

struct Vocabulary {
  std::string
      model;        // tokenizer.ggml.model: "llama" (SPM), "gpt2" (byte-level BPE), "t5" (unigram)
  std::string pre;  // tokenizer.ggml.pre
  std::vector<std::string> tokens;
  std::vector<double> scores;        // as many as tokens; empty for gpt2
  std::vector<int64_t> types;        // as many as tokens
  std::vector<std::string> merges;   // gpt2 only
  std::string precompiled_charsmap;  // t5 only
  std::optional<bool> add_space_prefix;
  std::optional<bool> remove_extra_whitespaces;
  // What the tokenizer's post-processor puts around a text, where the file says.
  bool has_template = false;
  std::string template_first, template_last;  // token texts, or empty
  // Ids by role, -1 where the file does not say (sentencepiece only).
  int64_t unk_id = -1, bos_id = -1, eos_id = -1, pad_id = -1;

  // Sets token `id`, growing the vocabulary with unused tokens up to it.
  void set_token(int64_t id, std::string text, double score, int64_t type);
};

}  // namespace realm::hf
