// UTF-8 in and out, by the Unicode standard's table of well-formed sequences: no surrogates, no
// overlong forms, nothing above U+10FFFF. Tokenizers work on checked text only (find_invalid_utf8
// at the door), so the decoding below needs no error path; the detokenizer meets any bytes and uses
// scan_utf8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace realm {

struct Utf8Scan {
  enum Kind { kComplete, kIncomplete, kInvalid };
  Kind kind;
  // kComplete: the character's bytes. kIncomplete: all that is left, a proper start of a character.
  // kInvalid: the longest piece that starts no character any more (a "maximal subpart"), 1 to 3.
  size_t length;
};

// Looks at the start of `text`, which must not be empty.
Utf8Scan scan_utf8(std::string_view text);

// Offset of the first ill-formed sequence, or npos.
size_t find_invalid_utf8(std::string_view text);

// Bytes of the character that starts with `lead`, for well-formed text.
inline size_t utf8_length(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

// The character at `offset` of well-formed text; moves `offset` behind it.
char32_t next_code_point(std::string_view text, size_t& offset);

void append_utf8(char32_t code_point, std::string& out);

}  // namespace realm
