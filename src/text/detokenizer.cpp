#include "text/detokenizer.h"

#include "text/utf8.h"

namespace realm {
namespace {
constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
}

StreamingDetokenizer::StreamingDetokenizer(const Tokenizer& tokenizer, bool special,
                                           bool strip_leading_space)
    : tokenizer_(&tokenizer),
      special_(special),
      strip_leading_space_(strip_leading_space && tokenizer.strips_leading_space()) {}

std::string StreamingDetokenizer::push(Token token) {
  std::string_view piece = tokenizer_->piece(token, special_);
  if (piece.empty()) return {};
  if (strip_leading_space_) {
    strip_leading_space_ = false;
    if (piece[0] == ' ') piece.remove_prefix(1);
  }
  pending_ += piece;

  std::string out;
  size_t offset = 0;
  while (offset < pending_.size()) {
    const Utf8Scan scan = scan_utf8(std::string_view(pending_).substr(offset));
    if (scan.kind == Utf8Scan::kIncomplete) break;
    if (scan.kind == Utf8Scan::kComplete) {
      out.append(pending_, offset, scan.length);
    } else {
      out += kReplacement;
    }
    offset += scan.length;
  }
  pending_.erase(0, offset);
  return out;
}

std::string StreamingDetokenizer::finish() {
  if (pending_.empty()) return {};
  pending_.clear();
  return std::string(kReplacement);
}

}  // namespace realm
