// GPT-2's byte alphabet: every byte as one printable character, so that a vocabulary can be a list
// of strings. Printable Latin-1 bytes stand for themselves, the others are U+0100 and up in order.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace realm {

// The character of each byte, in UTF-8.
const std::array<std::string, 256>& byte_alphabet();

// The bytes a token's text stands for; nothing where it holds a character outside the alphabet.
std::optional<std::string> decode_byte_level(std::string_view text);

}  // namespace realm
