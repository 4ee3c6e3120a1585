// The clocks that the program reads: the wall's, for what people and other machines are told and
// for what outlives the process, and the steady one, for spans of time. Code whose decisions depend
// on the time takes it as an argument, so that tests and simulations choose it.
#pragma once

#include <chrono>
#include <cstdint>

namespace realm {

// Milliseconds since 1970-01-01 00:00 UTC.
inline int64_t unix_ms_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

// Microseconds since some start; never runs backwards.
inline int64_t steady_us_now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

}  // namespace realm
