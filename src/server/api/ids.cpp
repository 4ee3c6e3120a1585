#include "server/api/ids.h"

#include <sys/random.h>

#include <cstdint>

#include "base/check.h"

namespace realm::server {

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  constexpr size_t kLength = 24;
  std::string id(prefix);
  id.reserve(prefix.size() + kLength);
  while (id.size() < prefix.size() + kLength) {
    uint8_t bytes[32];
    CHECK(::getrandom(bytes, sizeof bytes, 0) == sizeof bytes);  // does not fail at this size
    for (const uint8_t byte : bytes) {
      // 248 is the last multiple of 62: beyond it digits would not be equally likely.
      if (byte < 248 && id.size() < prefix.size() + kLength) id += kDigits[byte % kDigits.size()];
    }
  }
  return id;
}

}  // namespace realm::server
