#include "text/utf8.h"

#include <cstring>

namespace realm {

Utf8Scan scan_utf8(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {Utf8Scan::kComplete, 1};
  if (lead < 0xc2 || lead > 0xf4) return {Utf8Scan::kInvalid, 1};
  const size_t length = utf8_length(lead);
  // Only the second byte has a range of its own; it excludes overlong forms, surrogates and
  // everything above U+10FFFF.
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8Scan::kIncomplete, i};
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool fits = i == 1 ? byte >= low && byte <= high : (byte & 0xc0) == 0x80;
    if (!fits) return {Utf8Scan::kInvalid, i};
  }
  return {Utf8Scan::kComplete, length};
}

size_t find_invalid_utf8(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    // Eight ASCII bytes at a time: most text is mostly ASCII.
    while (offset + 8 <= text.size()) {
      uint64_t word;
      std::memcpy(&word, text.data() + offset, 8);
      if ((word & 0x8080808080808080u) != 0) break;
      offset += 8;
    }
    if (offset == text.size()) break;
    const Utf8Scan scan = scan_utf8(text.substr(offset));
    if (scan.kind != Utf8Scan::kComplete) return offset;
    offset += scan.length;
  }
  return std::string_view::npos;
}

char32_t next_code_point(std::string_view text, size_t& offset) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const unsigned char lead = byte(0);
  char32_t code_point = lead;
  const size_t length = utf8_length(lead);
  if (length == 2) {
    code_point = (lead & 0x1fu) << 6 | (byte(1) & 0x3fu);
  } else if (length == 3) {
    code_point = (lead & 0x0fu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
  } else if (length == 4) {
    code_point =
        (lead & 0x07u) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 | (byte(3) & 0x3fu);
  }
  offset += length;
  return code_point;
}

void append_utf8(char32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      out += static_cast<char>(0xe0 | c >> 12);
    } else {
      out += static_cast<char>(0xf0 | c >> 18);
      out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    }
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
  }
  out += static_cast<char>(0x80 | (c & 0x3f));
}

}  // namespace realm
