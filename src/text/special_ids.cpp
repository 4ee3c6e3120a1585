// Which tokens begin, end and structure a text. Files differ in how much they say: keys first, then
// the defaults that the kind of vocabulary has always had, then well-known names, as GGUF programs
// agree on.
#include <algorithm>
#include <initializer_list>
#include <tuple>

#include "text/vocabulary.h"

namespace realm {
namespace {

using Names = std::initializer_list<const char*>;

// First of these in the vocabulary is the end of a turn where the file names none.
constexpr const char* kEndOfTurn[] = {
    "<|eot_id|>",         "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
    "<|end_of_text|>",    "<EOT>",      "_<EOT>",  "[EOT]",         "<｜end▁of▁sentence｜>",
    "<end_of_utterance>", "<turn|>"};

// All of these end generation.
constexpr const char* kEndOfGeneration[] = {"<|eot_id|>",
                                            "<|im_end|>",
                                            "<|end|>",
                                            "<|return|>",
                                            "<|call|>",
                                            "<|flush|>",
                                            "<|calls|>",
                                            "<end_of_turn>",
                                            "<|endoftext|>",
                                            "<|eom_id|>",
                                            "<EOT>",
                                            "_<EOT>",
                                            "[EOT]",
                                            "[EOS]",
                                            "<|end_of_text|>",
                                            "<end_of_utterance>",
                                            "<turn|>",
                                            "<|tool_response>",
                                            "<｜end▁of▁sentence｜>",
                                            "[e~["};
// And these where the vocabulary marks them as control tokens: in some they are plain text.
constexpr const char* kEndIfControl[] = {"</s>", "<eos>"};

class Assigner {
 public:
  Assigner(const Metadata& metadata, Vocabulary& vocabulary)
      : metadata_(metadata), vocabulary_(vocabulary) {}

  // A default applies where the vocabulary is large enough for it.
  static constexpr Token kNoDefault = kNoToken;

  // An id whose absence changes what the model sees: out of range is an error.
  Status required(const char* name, Token fallback, Token& id) const {
    id = vocabulary_.contains(fallback) ? fallback : kNoToken;
    const std::string key = std::string("tokenizer.ggml.") + name;
    if (!metadata_.contains(key)) return {};
    const int64_t value = TRY(metadata_.get_int(key, INT32_MIN, UINT32_MAX));
    if (value == -1 || value == UINT32_MAX) {
      id = kNoToken;  // how converters write "none"
    } else if (value < 0 || value >= vocabulary_.size()) {
      return Error{ErrorCode::kBadModel, key + " is " + std::to_string(value) +
                                             ", outside the vocabulary of " +
                                             std::to_string(vocabulary_.size()) + " tokens"};
    } else {
      id = static_cast<Token>(value);
    }
    return {};
  }

  // An id that generation does without: files in use do have padding ids past the vocabulary.
  Status optional(std::initializer_list<const char*> names, Token& id, Names texts = {}) const {
    for (const char* name : names) {
      const std::string key = std::string("tokenizer.ggml.") + name;
      if (id != kNoToken || !metadata_.contains(key)) continue;
      const int64_t value = TRY(metadata_.get_int(key, INT32_MIN, UINT32_MAX));
      if (value >= 0 && value < vocabulary_.size()) {
        id = static_cast<Token>(value);
      } else if (value != -1 && value != UINT32_MAX) {
        vocabulary_.warnings.push_back(
            key + " is " + std::to_string(value) + ", outside the vocabulary of " +
            std::to_string(vocabulary_.size()) + " tokens; it is ignored");
      }
    }
    for (const char* text : texts) {
      if (id == kNoToken) id = vocabulary_.find(text).value_or(kNoToken);
    }
    return {};
  }

  // Converters mark some structural tokens as ordinary text; what is known to end a turn or to
  // frame code must not be spelled by a user.
  void make_control(Token token) const {
    if (token == kNoToken) return;
    TokenAttribute& attribute = vocabulary_.attributes[static_cast<size_t>(token)];
    if (attribute == TokenAttribute::kNormal || attribute == TokenAttribute::kUserDefined) {
      attribute = TokenAttribute::kControl;
    }
  }

 private:
  const Metadata& metadata_;
  Vocabulary& vocabulary_;
};

Status assign_named(const Assigner& assigner, Vocabulary& v) {
  TRY(assigner.optional({"eot_token_id"}, v.eot));
  for (const char* text : kEndOfTurn) {
    if (v.eot != kNoToken) break;
    v.eot = v.find(text).value_or(kNoToken);
    assigner.make_control(v.eot);
  }
  TRY(assigner.optional({"eom_token_id"}, v.eom, {"<|eom_id|>"}));
  TRY(assigner.optional({"padding_token_id"}, v.pad));
  TRY(assigner.optional({"mask_token_id"}, v.mask));
  TRY(assigner.optional({"fim_pre_token_id", "prefix_token_id"}, v.fim_prefix,
                        {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>",
                         "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>"}));
  TRY(assigner.optional({"fim_suf_token_id", "suffix_token_id"}, v.fim_suffix,
                        {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>",
                         "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>"}));
  TRY(assigner.optional({"fim_mid_token_id", "middle_token_id"}, v.fim_middle,
                        {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>",
                         "▁<MID>", "<|code_middle|>", "<|middle|>"}));
  TRY(assigner.optional({"fim_pad_token_id"}, v.fim_pad,
                        {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>"}));
  TRY(assigner.optional({"fim_rep_token_id"}, v.fim_repo,
                        {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}));
  TRY(assigner.optional({"fim_sep_token_id"}, v.fim_separator, {"<|file_sep|>"}));
  for (const Token token :
       {v.eom, v.fim_prefix, v.fim_suffix, v.fim_middle, v.fim_pad, v.fim_repo, v.fim_separator}) {
    assigner.make_control(token);
  }
  return {};
}

void collect_end_of_generation(const Assigner& assigner, Vocabulary& v) {
  for (const Token token : {v.eos, v.eot, v.eom, v.fim_pad, v.fim_repo, v.fim_separator}) {
    if (token != kNoToken) v.eog.push_back(token);
  }
  for (const char* text : kEndOfGeneration) {
    if (const std::optional<Token> token = v.find(text)) {
      assigner.make_control(*token);
      v.eog.push_back(*token);
    }
  }
  for (const char* text : kEndIfControl) {
    const std::optional<Token> token = v.find(text);
    if (token && v.has(*token, TokenAttribute::kControl)) v.eog.push_back(*token);
  }
  // Where a vocabulary ends its turns with <|return|> and calls (gpt-oss's harmony format and its
  // kin), <|end|> only separates messages, and more of the same answer follows.
  const bool harmony = v.find("<|return|>") && v.find("<|call|>");
  const bool calls = v.find("<|flush|>") && (v.find("<|calls|>") || v.find("<|call|>"));
  if (const std::optional<Token> end = v.find("<|end|>"); end && (harmony || calls)) {
    std::erase(v.eog, *end);
  }
  std::sort(v.eog.begin(), v.eog.end());
  v.eog.erase(std::unique(v.eog.begin(), v.eog.end()), v.eog.end());
  v.is_eog.assign(v.texts.size(), false);
  for (const Token token : v.eog) v.is_eog[static_cast<size_t>(token)] = true;
}

Status assign_kind_ids(const Assigner& assigner, const Metadata& metadata, Vocabulary& v) {
  switch (v.kind) {
    case VocabularyKind::kSpm:
      TRY(assigner.required("bos_token_id", 1, v.bos));
      TRY(assigner.required("eos_token_id", 2, v.eos));
      TRY(assigner.required("unknown_token_id", 0, v.unk));
      break;
    case VocabularyKind::kBpe:
      TRY(assigner.required("bos_token_id", Assigner::kNoDefault, v.bos));
      TRY(assigner.required("eos_token_id", Assigner::kNoDefault, v.eos));
      TRY(assigner.required("unknown_token_id", Assigner::kNoDefault, v.unk));
      break;
    case VocabularyKind::kWpm: {
      const auto named = [&](const char* text) { return v.find(text).value_or(kNoToken); };
      TRY(assigner.required("cls_token_id", named("[CLS]"), v.bos));
      TRY(assigner.required("bos_token_id", v.bos, v.bos));
      TRY(assigner.required("eos_token_id", Assigner::kNoDefault, v.eos));
      TRY(assigner.required("unknown_token_id", named("[UNK]"), v.unk));
      TRY(assigner.required("seperator_token_id", named("[SEP]"), v.sep));  // spelled so in GGUF
      return {};
    }
    case VocabularyKind::kUgm:
      TRY(assigner.required("bos_token_id", Assigner::kNoDefault, v.bos));
      TRY(assigner.required("eos_token_id", 1, v.eos));
      TRY(assigner.required("unknown_token_id", 2, v.unk));
      break;
  }
  return metadata.contains("tokenizer.ggml.seperator_token_id")
             ? assigner.optional({"seperator_token_id"}, v.sep)
             : Status{};
}

}  // namespace

Status assign_special_ids(const Metadata& metadata, Vocabulary& v) {
  const Assigner assigner(metadata, v);
  TRY(assign_kind_ids(assigner, metadata, v));
  TRY(assign_named(assigner, v));
  collect_end_of_generation(assigner, v);

  const bool bos_by_kind = v.kind == VocabularyKind::kSpm || v.kind == VocabularyKind::kWpm ||
                           (v.pre != nullptr && v.pre->adds_bos);
  const bool eos_by_kind = v.kind == VocabularyKind::kUgm;
  v.add_bos = TRY(metadata.get_bool_or("tokenizer.ggml.add_bos_token", bos_by_kind));
  v.add_eos = TRY(metadata.get_bool_or("tokenizer.ggml.add_eos_token", eos_by_kind));
  // Gemma 4 files came out with the flag off, though the model needs the token.
  if (v.pre != nullptr && v.pre->forces_bos) v.add_bos = true;
  if (v.kind == VocabularyKind::kWpm) v.add_bos = v.add_eos = true;
  const Token last = v.kind == VocabularyKind::kWpm ? v.sep : v.eos;
  for (const auto& [wanted, token, key, flag] :
       {std::tuple{v.add_bos, v.bos, "tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token"},
        std::tuple{v.add_eos, last,
                   v.kind == VocabularyKind::kWpm ? "tokenizer.ggml.seperator_token_id"
                                                  : "tokenizer.ggml.eos_token_id",
                   "tokenizer.ggml.add_eos_token"}}) {
    if (wanted && token == kNoToken &&
        (metadata.contains(flag) || v.kind != VocabularyKind::kBpe)) {
      return Error{ErrorCode::kBadModel,
                   std::string("the tokenizer adds a token that ") + key +
                       " should name, but the file has none; set it, or set " + flag + " to false"};
    }
  }
  if (v.bos == kNoToken) v.add_bos = false;
  if (last == kNoToken) v.add_eos = false;
  return {};
}

}  // namespace realm
