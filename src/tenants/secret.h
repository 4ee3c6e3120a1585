// API keys and ids: made from the operating system's randomness, told apart in constant time.
//
// A key is "rk_" + 10 characters of prefix + "_" + 43 characters of secret, all of [0-9A-Za-z]. The
// prefix names the key in lists and finds its row; only the secret proves anything. The store keeps
// SHA-256 of the whole key. A slow, salted hash (as for passwords) would add nothing: the secret
// has 256 random bits, so that there is no dictionary to try and no two keys are alike, whereas
// every request, also one with a wrong key, would cost the server that hash's time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace realm {

using Digest = std::array<uint8_t, 32>;

struct NewKey {
  std::string text;    // to be shown once, kept nowhere
  std::string prefix;  // "rk_" and 10 characters
  Digest digest;
};

// Errors: kUnavailable where the operating system has no randomness to give.
Result<NewKey> make_key();

// SHA-256.
Digest digest_of(std::string_view text);
// In a time that does not depend on the values.
bool equal_digests(const Digest& a, const Digest& b);

// The prefix of a text that has a key's form; empty where it has not.
std::string_view key_prefix(std::string_view text);

// `length` random characters of [0-9A-Za-z]; 22 of them (131 bits) make an id that nobody guesses.
Result<std::string> random_text(size_t length);

}  // namespace realm
