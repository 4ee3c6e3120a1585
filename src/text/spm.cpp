#include "text/spm.h"

#include <algorithm>
#include <unordered_map>

#include "text/utf8.h"

namespace realm {
namespace {

constexpr std::string_view kEscapedSpace = "\xe2\x96\x81";  // U+2581
// Up to this many symbols, looking at every pair for the best is faster than a heap.
constexpr size_t kShortSegment = 48;

uint64_t neighbour_key(char32_t left, char32_t right) {
  return static_cast<uint64_t>(left) << 32 | right;
}

}  // namespace

// Scratch of one stretch, reused from segment to segment.
struct SpmTokenizer::Work {
  std::vector<std::string_view> symbols;  // in order; of merge_long, empty once merged away
  // Of merge_short: the token that symbols i and i + 1 make, or kNoToken.
  std::vector<Token> pairs;
  // Of merge_long: a linked list over the symbols, and candidates by score, then place.
  std::vector<int32_t> next, previous;
  struct Candidate {
    float score;
    int32_t left;
    size_t size;  // of both symbols together, by which a stale candidate is known
    bool operator<(const Candidate& other) const {  // for a max-heap
      return score != other.score ? score < other.score : left > other.left;
    }
  };
  std::vector<Candidate> heap;
  // Unused tokens met, and the size of their left part: text must not end as one, so they are taken
  // apart again.
  std::unordered_map<std::string_view, size_t> unused_left_sizes;
};

SpmTokenizer::SpmTokenizer(std::unique_ptr<Vocabulary> owned) : Tokenizer(std::move(owned)) {
  const Vocabulary& v = vocabulary();
  for (Token token = 0; token < v.size(); ++token) {
    const std::string& text = v.texts[static_cast<size_t>(token)];
    if (!v.find_spellable(text) || find_invalid_utf8(text) != std::string::npos) continue;
    size_t offset = 0;
    for (char32_t left = next_code_point(text, offset); offset < text.size();) {
      const char32_t right = next_code_point(text, offset);
      neighbours_.insert(neighbour_key(left, right), true);
      left = right;
    }
  }
}

Status SpmTokenizer::encode_stretch(std::string_view text, bool after_special,
                                    std::vector<Token>& out) const {
  std::string escaped;
  escaped.reserve(text.size() + text.size() / 2);
  if (vocabulary().add_space_prefix && after_special) escaped += kEscapedSpace;
  for (const char c : text) {
    if (c == ' ') {
      escaped += kEscapedSpace;
    } else {
      escaped += c;
    }
  }
  const std::string_view buffer = escaped;
  Work work;
  size_t begin = 0;
  char32_t left = 0;
  for (size_t offset = 0; offset < buffer.size();) {
    const size_t at = offset;
    const char32_t right = next_code_point(buffer, offset);
    if (at > begin && neighbours_.find(neighbour_key(left, right)) == nullptr) {
      TRY(encode_segment(buffer.substr(begin, at - begin), work, out));
      begin = at;
    }
    left = right;
  }
  return encode_segment(buffer.substr(begin), work, out);
}

Status SpmTokenizer::encode_segment(std::string_view segment, Work& work,
                                    std::vector<Token>& out) const {
  work.symbols.clear();
  for (size_t offset = 0; offset < segment.size();) {
    const size_t length = utf8_length(static_cast<unsigned char>(segment[offset]));
    work.symbols.push_back(segment.substr(offset, length));
    offset += length;
  }
  if (!work.unused_left_sizes.empty()) work.unused_left_sizes.clear();
  if (work.symbols.size() <= kShortSegment) {
    merge_short(work);
  } else {
    merge_long(work);
  }
  for (const std::string_view symbol : work.symbols) {
    if (!symbol.empty()) TRY(emit(work, symbol, out));
  }
  return {};
}

Token SpmTokenizer::joined(Work& work, std::string_view left, std::string_view right) const {
  const std::string_view both(left.data(), left.size() + right.size());  // they share a buffer
  const std::optional<Token> token = vocabulary().find_spellable(both);
  if (!token) return kNoToken;
  if (vocabulary().has(*token, TokenAttribute::kUnused)) {
    work.unused_left_sizes.emplace(both, left.size());
  }
  return *token;
}

void SpmTokenizer::merge_short(Work& work) const {
  std::vector<std::string_view>& symbols = work.symbols;
  std::vector<Token>& pairs = work.pairs;
  const auto pair_at = [&](size_t i) { return joined(work, symbols[i], symbols[i + 1]); };
  pairs.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) pairs.push_back(pair_at(i));
  while (true) {
    size_t best = pairs.size();
    float best_score = 0;
    for (size_t i = 0; i < pairs.size(); ++i) {
      if (pairs[i] == kNoToken) continue;
      const float score = vocabulary().scores[static_cast<size_t>(pairs[i])];
      if (best == pairs.size() || score > best_score) {
        best = i;
        best_score = score;
      }
    }
    if (best == pairs.size()) return;
    symbols[best] =
        std::string_view(symbols[best].data(), symbols[best].size() + symbols[best + 1].size());
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
    pairs.erase(pairs.begin() + static_cast<ptrdiff_t>(best));
    if (best > 0) pairs[best - 1] = pair_at(best - 1);
    if (best < pairs.size()) pairs[best] = pair_at(best);
  }
}

void SpmTokenizer::merge_long(Work& work) const {
  const auto count = static_cast<int32_t>(work.symbols.size());
  work.next.resize(work.symbols.size());
  work.previous.resize(work.symbols.size());
  work.heap.clear();
  const auto at = [&](int32_t i) -> std::string_view& {
    return work.symbols[static_cast<size_t>(i)];
  };
  const auto next = [&](int32_t i) -> int32_t& { return work.next[static_cast<size_t>(i)]; };
  const auto previous = [&](int32_t i) -> int32_t& {
    return work.previous[static_cast<size_t>(i)];
  };
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return false;
    const Token token = joined(work, at(left), at(right));
    if (token == kNoToken) return false;
    work.heap.push_back({vocabulary().scores[static_cast<size_t>(token)], left,
                         at(left).size() + at(right).size()});
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
    const int32_t right = next(best.left);
    // Symbols only grow, so the same size means the same pair.
    if (at(best.left).empty() || right < 0 ||
        at(best.left).size() + at(right).size() != best.size) {
      continue;
    }
    at(best.left) = std::string_view(at(best.left).data(), best.size);
    at(right) = {};
    next(best.left) = next(right);
    if (next(right) >= 0) previous(next(right)) = best.left;
    if (consider(previous(best.left), best.left))
      std::push_heap(work.heap.begin(), work.heap.end());
    if (consider(best.left, next(best.left))) std::push_heap(work.heap.begin(), work.heap.end());
  }
}

Status SpmTokenizer::emit(const Work& work, std::string_view symbol,
                          std::vector<Token>& out) const {
  // Parts still to be given out, the first on top. An unused token's parts are shorter than it, so
  // this ends.
  std::vector<std::string_view> parts = {symbol};
  while (!parts.empty()) {
    const std::string_view part = parts.back();
    parts.pop_back();
    const std::optional<Token> token = vocabulary().find_spellable(part);
    if (token && !vocabulary().has(*token, TokenAttribute::kUnused)) {
      out.push_back(*token);
      continue;
    }
    const auto split = work.unused_left_sizes.find(part);
    if (split == work.unused_left_sizes.end()) {
      TRY(append_fallback(vocabulary(), part, out));
      continue;
    }
    parts.push_back(part.substr(split->second));
    parts.push_back(part.substr(0, split->second));
  }
  return {};
}

Status append_fallback(const Vocabulary& vocabulary, std::string_view character,
                       std::vector<Token>& out) {
  const auto byte_token = [&](char c) {
    return vocabulary.byte_tokens[static_cast<unsigned char>(c)];
  };
  const bool by_bytes = std::all_of(character.begin(), character.end(),
                                    [&](char c) { return byte_token(c) != kNoToken; });
  if (by_bytes) {
    for (const char c : character) out.push_back(byte_token(c));
    return {};
  }
  if (vocabulary.unk == kNoToken) {
    return Error{ErrorCode::kInvalidArgument, "the model's vocabulary has no token for '" +
                                                  std::string(character) +
                                                  "' of the text, and none for the unknown"};
  }
  if (out.empty() || out.back() != vocabulary.unk) out.push_back(vocabulary.unk);
  return {};
}

}  // namespace realm
