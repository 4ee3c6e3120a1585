#include "text/spm.h"

#include <algorithm>
#include <unordered_map>

#include "text/utf8.h"

namespace realm {
namespace {
constexpr std::string_view kEscapedSpace = "\xe2\x96\x81";  // U+2581
}

struct SpmTokenizer::Work {
  struct Symbol {
    std::string_view text;  // empty once merged into its left neighbour
    int32_t previous, next;
  };
  struct Candidate {
    float score;
    int32_t left, right;
    uint32_t size;  // of both together, by which a stale candidate is known
    bool operator<(const Candidate& other) const {  // for a max-heap
      return score != other.score ? score < other.score : left > other.left;
    }
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  // How unused tokens were put together: text must not end as one, so it is taken apart again.
  std::unordered_map<std::string_view, size_t> unused_left_sizes;
};

SpmTokenizer::SpmTokenizer(std::unique_ptr<Vocabulary> vocabulary)
    : Tokenizer(std::move(vocabulary)) {}

void SpmTokenizer::consider(Work& work, int32_t left, int32_t right) const {
  if (left < 0 || right < 0) return;
  const std::string_view l = work.symbols[static_cast<size_t>(left)].text;
  const std::string_view r = work.symbols[static_cast<size_t>(right)].text;
  const std::string_view both(l.data(), l.size() + r.size());  // neighbours in one buffer
  const std::optional<Token> token = vocabulary().find_spellable(both);
  if (!token) return;
  if (vocabulary().has(*token, TokenAttribute::kUnused)) {
    work.unused_left_sizes.emplace(both, l.size());
  }
  work.heap.push_back({vocabulary().scores[static_cast<size_t>(*token)], left, right,
                       static_cast<uint32_t>(both.size())});
  std::push_heap(work.heap.begin(), work.heap.end());
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

  Work work;
  const std::string_view buffer = escaped;
  for (size_t offset = 0; offset < buffer.size();) {
    const size_t length = utf8_length(static_cast<unsigned char>(buffer[offset]));
    const auto index = static_cast<int32_t>(work.symbols.size());
    work.symbols.push_back({buffer.substr(offset, length), index - 1, index + 1});
    offset += length;
  }
  if (work.symbols.empty()) return {};
  work.symbols.back().next = -1;
  for (int32_t i = 1; i < static_cast<int32_t>(work.symbols.size()); ++i) consider(work, i - 1, i);

  while (!work.heap.empty()) {
    std::pop_heap(work.heap.begin(), work.heap.end());
    const Work::Candidate best = work.heap.back();
    work.heap.pop_back();
    Work::Symbol& left = work.symbols[static_cast<size_t>(best.left)];
    Work::Symbol& right = work.symbols[static_cast<size_t>(best.right)];
    if (left.text.empty() || right.text.empty() ||
        left.text.size() + right.text.size() != best.size) {
      continue;
    }
    left.text = std::string_view(left.text.data(), best.size);
    right.text = {};
    left.next = right.next;
    if (right.next >= 0) work.symbols[static_cast<size_t>(right.next)].previous = best.left;
    consider(work, left.previous, best.left);
    consider(work, best.left, left.next);
  }
  for (int32_t i = 0; i >= 0; i = work.symbols[static_cast<size_t>(i)].next) {
    TRY(emit(work, work.symbols[static_cast<size_t>(i)].text, out));
  }
  return {};
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
