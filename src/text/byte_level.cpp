#include "text/byte_level.h"

#include <cstdint>

#include "text/utf8.h"

namespace realm {
namespace {

bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int16_t, 0x144> bytes;  // by code point; -1 where there is none

  Alphabet() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const char32_t c = stands_for_itself(byte) ? byte : next++;
      append_utf8(c, characters[byte]);
      bytes[c] = static_cast<int16_t>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

const std::array<std::string, 256>& byte_alphabet() {
  return alphabet().characters;
}

std::optional<std::string> decode_byte_level(std::string_view text) {
  const Alphabet& table = alphabet();
  std::string out;
  for (size_t offset = 0; offset < text.size();) {
    if (scan_utf8(text.substr(offset)).kind != Utf8Scan::kComplete) return std::nullopt;
    const char32_t c = next_code_point(text, offset);
    if (c >= table.bytes.size() || table.bytes[c] < 0) return std::nullopt;
    out += static_cast<char>(table.bytes[c]);
  }
  return out;
}

}  // namespace realm
