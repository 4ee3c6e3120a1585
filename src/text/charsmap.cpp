#include "text/charsmap.h"

#include <bit>
#include <cstring>

namespace realm {
namespace {

constexpr const char* kKey = "tokenizer.ggml.precompiled_charsmap";

// A unit of the double array (Yata and Kanda's XOR-compressed form): bits 10..30 hold the offset to
// the children, shifted by 8 where bit 9 is set; bit 8 says that a value hangs below; bits 0..7 and
// 31 are the label. The unit of a value has bit 31 set and the value in the others.
uint32_t children(uint32_t unit) {
  return (unit >> 10) << ((unit & 0x200u) >> 6);
}
bool has_value(uint32_t unit) {
  return (unit & 0x100u) != 0;
}
uint32_t label(uint32_t unit) {
  return unit & 0x800000ffu;
}
uint32_t value(uint32_t unit) {
  return unit & 0x7fffffffu;
}

}  // namespace

Result<Charsmap> Charsmap::create(const Metadata& metadata) {
  Charsmap map;
  if (!metadata.contains(kKey)) return map;
  const std::vector<int64_t> values = TRY(metadata.get_ints(kKey, -128, 255));
  if (values.empty()) return map;
  std::string blob;
  blob.reserve(values.size());
  for (const int64_t v : values) blob += static_cast<char>(v);

  static_assert(std::endian::native == std::endian::little);
  uint32_t trie_bytes = 0;
  if (blob.size() >= 4) std::memcpy(&trie_bytes, blob.data(), 4);
  if (blob.size() < 4 || trie_bytes > blob.size() - 4 || trie_bytes % 4 != 0) {
    return Error{ErrorCode::kBadModel, std::string(kKey) + " has " + std::to_string(blob.size()) +
                                           " bytes and a trie of " + std::to_string(trie_bytes) +
                                           ", which does not fit"};
  }
  map.units_.resize(trie_bytes / 4);
  if (trie_bytes > 0) std::memcpy(map.units_.data(), blob.data() + 4, trie_bytes);
  map.replacements_ = blob.substr(4 + trie_bytes);
  if (!map.units_.empty() && (map.replacements_.empty() || map.replacements_.back() != '\0')) {
    return Error{ErrorCode::kBadModel,
                 std::string(kKey) + " does not end in a zero byte; it is cut off"};
  }
  return map;
}

std::optional<Charsmap::Match> Charsmap::match(std::string_view text) const {
  if (units_.empty()) return std::nullopt;
  std::optional<Match> best;
  // A trie from a file may point anywhere: a place outside it ends the search as no child would.
  uint32_t node = children(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || label(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= children(unit);
    if (!has_value(unit)) continue;
    if (node >= units_.size()) break;
    const uint32_t at = value(units_[node]);
    if (at >= replacements_.size()) break;
    best = Match{i + 1, std::string_view(replacements_.data() + at)};
  }
  return best;
}

}  // namespace realm
