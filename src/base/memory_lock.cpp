#include "base/memory_lock.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

namespace realm {
namespace {

std::string megabytes(uint64_t bytes) {
  return std::to_string((bytes + 999'999) / 1'000'000) + " MB";
}

}  // namespace

Status lock_memory(std::span<const std::byte> bytes) {
  if (bytes.empty() || ::mlock(bytes.data(), bytes.size()) == 0) return {};
  std::string message =
      "cannot lock " + megabytes(bytes.size()) + " in memory: " + std::strerror(errno);
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    message += "; this process may lock " + megabytes(limit.rlim_cur) + " in all (ulimit -l)";
  }
  return Error{ErrorCode::kExhausted, std::move(message)};
}

}  // namespace realm
