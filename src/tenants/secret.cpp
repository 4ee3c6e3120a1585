#include "tenants/secret.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

namespace realm {
namespace {

constexpr std::string_view kAlphabet =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kKeyStart = "rk_";
constexpr size_t kPrefixLength = 10;
constexpr size_t kSecretLength = 43;  // 256 bits of 62 characters

bool is_alphabet(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  });
}

Status fill_random(std::span<uint8_t> out) {
  for (size_t done = 0; done < out.size();) {
    const ssize_t got = ::getrandom(out.data() + done, out.size() - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return Error{
          ErrorCode::kUnavailable,
          std::string("the operating system gives no randomness: ") + std::strerror(errno)};
    }
    done += static_cast<size_t>(got);
  }
  return {};
}

}  // namespace

Result<std::string> random_text(size_t length) {
  // Bytes of 248 and more are thrown away: 248 is the largest multiple of 62 that a byte holds.
  constexpr uint8_t kByteEnd = 248;
  std::string text;
  std::array<uint8_t, 64> bytes{};
  while (text.size() < length) {
    TRY(fill_random(bytes));
    for (const uint8_t byte : bytes) {
      if (byte < kByteEnd && text.size() < length) text += kAlphabet[byte % kAlphabet.size()];
    }
  }
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return text;
}

Result<NewKey> make_key() {
  NewKey key;
  key.prefix = std::string(kKeyStart) + TRY(random_text(kPrefixLength));
  key.text = key.prefix + "_" + TRY(random_text(kSecretLength));
  key.digest = digest_of(key.text);
  return key;
}

Digest digest_of(std::string_view text) {
  Digest digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

bool equal_digests(const Digest& a, const Digest& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view key_prefix(std::string_view text) {
  constexpr size_t kPrefixEnd = kKeyStart.size() + kPrefixLength;
  if (text.size() != kPrefixEnd + 1 + kSecretLength) return {};
  if (!text.starts_with(kKeyStart) || text[kPrefixEnd] != '_') return {};
  const std::string_view prefix = text.substr(0, kPrefixEnd);
  if (!is_alphabet(prefix.substr(kKeyStart.size())) || !is_alphabet(text.substr(kPrefixEnd + 1))) {
    return {};
  }
  return prefix;
}

}  // namespace realm
