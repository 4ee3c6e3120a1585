// Programmer errors. CHECK is always on and aborts with the place and the condition; DCHECK only in
// builds without NDEBUG. Neither may be reachable from a request or from the content of a file:
// those go through Result (result.h).
#pragma once

namespace realm::internal {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}

#define CHECK(condition)                                               \
  do {                                                                 \
    if (__builtin_expect(!(condition), 0))                             \
      ::realm::internal::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)

#ifdef NDEBUG
#define DCHECK(condition)    \
  do {                       \
    (void)sizeof(condition); \
  } while (false)
#else
#define DCHECK(condition) CHECK(condition)
#endif
