#include "text/bpe.h"

#include <algorithm>
#include <cstdio>
#include <queue>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace realm {
namespace {

constexpr const char* kMerges = "tokenizer.ggml.merges";
constexpr std::string_view kEscapedSpace = "\xe2\x96\x81";  // U+2581
constexpr uint32_t kNoRank = UINT32_MAX;
// Up to this many symbols, looking at every pair for the best is faster than a heap.
constexpr size_t kShortWord = 48;

uint64_t pair_key(Token left, Token right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

// Scratch of one stretch, reused from word to word.
struct BpeTokenizer::Work {
  std::vector<Token> symbols;
  std::vector<Merge> pairs;  // of symbols i and i + 1
  // Of merge_long: a doubly linked list over the symbols, and candidates by rank, then place.
  std::vector<int32_t> next, previous;
  struct Candidate {
    uint32_t rank;
    int32_t left;
    Token left_token, right_token, merged;
    bool operator<(const Candidate& other) const {  // for a max-heap: the best is the greatest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  std::vector<Candidate> heap;
  std::string byte_text;
};

BpeTokenizer::BpeTokenizer(std::unique_ptr<Vocabulary> vocabulary, PreTokenizer pre_tokenizer)
    : Tokenizer(std::move(vocabulary)), pre_tokenizer_(std::move(pre_tokenizer)) {}

Result<std::unique_ptr<Tokenizer>> BpeTokenizer::create(const Metadata& metadata,
                                                        std::unique_ptr<Vocabulary> vocabulary) {
  PreTokenizer pre_tokenizer = TRY(PreTokenizer::compile(*vocabulary->pre));
  std::unique_ptr<BpeTokenizer> tokenizer(
      new BpeTokenizer(std::move(vocabulary), std::move(pre_tokenizer)));
  TRY(tokenizer->read_merges(metadata));
  const Vocabulary& v = tokenizer->vocabulary();
  for (size_t byte = 0; byte < 256; ++byte) {
    tokenizer->byte_symbols_[byte] =
        v.pre->raw_utf8 ? v.byte_tokens[byte] : v.find(byte_alphabet()[byte]).value_or(kNoToken);
  }
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

Status BpeTokenizer::read_merges(const Metadata& metadata) {
  const std::vector<std::string>* merges = TRY(metadata.get_strings(kMerges));
  if (merges->size() >= kNoRank) {
    return Error{ErrorCode::kBadModel, std::string(kMerges) + " has too many entries"};
  }
  merges_.reserve(merges->size());
  std::string merged;
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const std::string& text = (*merges)[rank];
    const auto bad = [&](const std::string& why) {
      return Error{ErrorCode::kBadModel, std::string(kMerges) + '[' + std::to_string(rank) +
                                             "] ('" + text.substr(0, 80) + "') " + why};
    };
    // The first part may itself be a space only in vocabularies that are not byte-level.
    const size_t space = text.find(' ', 1);
    if (space == std::string::npos || space + 1 == text.size()) {
      return bad("is not two tokens separated by a space");
    }
    const std::string_view left_text = std::string_view(text).substr(0, space);
    const std::string_view right_text = std::string_view(text).substr(space + 1);
    merged.assign(left_text).append(right_text);
    const auto left = vocabulary().find(left_text), right = vocabulary().find(right_text);
    const auto result = vocabulary().find(merged);
    if (!left || !right || !result) {
      const std::string_view missing = !left ? left_text : !right ? right_text : merged;
      return bad("needs the token '" + std::string(missing.substr(0, 80)) +
                 "', which tokenizer.ggml.tokens does not have");
    }
    // Where a pair is listed twice, the first rank counts.
    merges_.insert(pair_key(*left, *right), Merge{static_cast<uint32_t>(rank), *result});
  }
  return {};
}

const BpeTokenizer::Merge* BpeTokenizer::find_merge(Token left, Token right) const {
  return merges_.find(pair_key(left, right));
}

Status BpeTokenizer::encode_stretch(std::string_view text, bool /*after_special*/,
                                    std::vector<Token>& out) const {
  std::string escaped;
  if (vocabulary().pre->raw_utf8) {
    for (const char c : text) {
      if (c == ' ') {
        escaped += kEscapedSpace;
      } else {
        escaped += c;
      }
    }
    text = escaped;
  }
  std::vector<uint32_t> lengths;
  TRY(pre_tokenizer_.split(text, lengths));
  Work work;
  size_t start = 0;
  for (const uint32_t length : lengths) {
    TRY(encode_word(text.substr(start, length), work, out));
    start += length;
  }
  return {};
}

Status BpeTokenizer::encode_word(std::string_view word, Work& work, std::vector<Token>& out) const {
  const PreTokenizerRow& pre = *vocabulary().pre;
  if (word.size() == 1 && !pre.raw_utf8) {
    const Token token = byte_symbols_[static_cast<unsigned char>(word[0])];
    if (token != kNoToken) {
      out.push_back(token);
      return {};
    }
  }
  if (pre.ignores_merges || (pre.raw_utf8 && word.find_first_not_of('\n') == word.npos)) {
    // GGUF separates the parts of a merge by a space in one string; converters leave out merges of
    // line ends, so that runs of them are whole tokens or nothing.
    std::string_view text = word;
    if (!pre.raw_utf8) {
      work.byte_text.clear();
      for (const char c : word) work.byte_text += byte_alphabet()[static_cast<unsigned char>(c)];
      text = work.byte_text;
    }
    if (const std::optional<Token> token = vocabulary().find_spellable(text)) {
      out.push_back(*token);
      return {};
    }
  }
  TRY(start_symbols(word, work));
  if (work.symbols.size() <= kShortWord) {
    merge_short(work);
  } else {
    merge_long(work);
  }
  out.insert(out.end(), work.symbols.begin(), work.symbols.end());
  return {};
}

Status BpeTokenizer::start_symbols(std::string_view word, Work& work) const {
  work.symbols.clear();
  const bool raw = vocabulary().pre->raw_utf8;
  for (size_t i = 0; i < word.size();) {
    const size_t length = raw ? utf8_length(static_cast<unsigned char>(word[i])) : 1;
    if (raw) {
      if (const auto token = vocabulary().find_spellable(word.substr(i, length))) {
        work.symbols.push_back(*token);
        i += length;
        continue;
      }
    }
    for (size_t j = i; j < i + length; ++j) {
      const auto byte = static_cast<unsigned char>(word[j]);
      const Token token = byte_symbols_[byte];
      if (token == kNoToken && vocabulary().unk == kNoToken) {
        char name[8];
        std::snprintf(name, sizeof name, "0x%02X", byte);
        return Error{ErrorCode::kInvalidArgument,
                     std::string("the model's vocabulary has no token for the byte ") + name +
                         " of the text, and none for the unknown"};
      }
      work.symbols.push_back(token != kNoToken ? token : vocabulary().unk);
    }
    i += length;
  }
  return {};
}

void BpeTokenizer::merge_short(Work& work) const {
  std::vector<Token>& symbols = work.symbols;
  std::vector<Merge>& pairs = work.pairs;
  const auto rank_pair = [&](size_t i) {
    const Merge* merge = find_merge(symbols[i], symbols[i + 1]);
    return merge ? *merge : Merge{kNoRank, kNoToken};
  };
  pairs.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) pairs.push_back(rank_pair(i));
  while (!pairs.empty()) {
    size_t best = 0;
    for (size_t i = 1; i < pairs.size(); ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == kNoRank) return;
    symbols[best] = pairs[best].token;
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
    pairs.erase(pairs.begin() + static_cast<ptrdiff_t>(best));
    if (best > 0) pairs[best - 1] = rank_pair(best - 1);
    if (best < pairs.size()) pairs[best] = rank_pair(best);
  }
}

void BpeTokenizer::merge_long(Work& work) const {
  std::vector<Token>& symbols = work.symbols;
  const auto count = static_cast<int32_t>(symbols.size());
  work.next.resize(symbols.size());
  work.previous.resize(symbols.size());
  work.heap.clear();
  const auto at = [&](int32_t i) -> Token& { return symbols[static_cast<size_t>(i)]; };
  const auto next = [&](int32_t i) -> int32_t& { return work.next[static_cast<size_t>(i)]; };
  const auto previous = [&](int32_t i) -> int32_t& {
    return work.previous[static_cast<size_t>(i)];
  };
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return false;
    const Merge* merge = find_merge(at(left), at(right));
    if (merge == nullptr) return false;
    work.heap.push_back({merge->rank, left, at(left), at(right), merge->token});
    return true;
  };
  for (int32_t i = 0; i < count; ++i) {
    next(i) = i + 1 < count ? i + 1 : -1;
    previous(i) = i - 1;
    consider(i - 1, i);
  }
  std::make_heap(work.heap.begin(), work.heap.end());
  while (!work.heap.empty()) {
    std::pop_heap(work.heap.begin(), work.heap.end());
    const Work::Candidate best = work.heap.back();
    work.heap.pop_back();
    // Stale where one of its symbols was merged away since; a merged-away place holds kNoToken.
    if (at(best.left) != best.left_token) continue;
    const int32_t right = next(best.left);
    if (right < 0 || at(right) != best.right_token) continue;
    at(best.left) = best.merged;
    at(right) = kNoToken;
    next(best.left) = next(right);
    if (next(right) >= 0) previous(next(right)) = best.left;
    if (consider(previous(best.left), best.left))
      std::push_heap(work.heap.begin(), work.heap.end());
    if (consider(best.left, next(best.left))) std::push_heap(work.heap.begin(), work.heap.end());
  }
  std::erase(symbols, kNoToken);
}

}  // namespace realm
