#include "base/numa.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>

namespace realm {
namespace {

constexpr size_t kBitsPerWord = sizeof(unsigned long) * CHAR_BIT;
// More than any kernel is built for (CONFIG_NODES_SHIFT is 10 at most).
constexpr int kNodesMax = 1024;

// "0-1,4" -> 0, 1, 4; nothing where it is no such list.
std::vector<int> parse_list(std::string_view text) {
  std::vector<int> numbers;
  const char* p = text.data();
  const char* const end = p + text.size();
  const auto number = [&](int& value) {
    const auto [rest, error] = std::from_chars(p, end, value);
    p = rest;
    return error == std::errc() && value >= 0 && value < kNodesMax;
  };
  const auto skip = [&](char c) { return p != end && *p == c && ++p != nullptr; };
  while (p != end) {
    int first = 0;
    if (!number(first)) return {};
    int last = first;
    if (skip('-') && !number(last)) return {};
    for (int i = first; i <= last; ++i) numbers.push_back(i);
    if (p != end && !skip(',')) return {};
  }
  return numbers;
}

// The rest of the first line that begins with `key`; nothing where there is none.
std::string line_after(const std::string& path, std::string_view key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(key)) return line.substr(key.size());
  }
  return {};
}

// This thread's; nothing, and errno, where the system does not say.
std::optional<int> memory_policy() {
  int policy = MPOL_DEFAULT;
  if (::syscall(SYS_get_mempolicy, &policy, nullptr, 0UL, nullptr, 0UL) != 0) return std::nullopt;
  return policy;
}

}  // namespace

std::vector<int> memory_nodes(const std::string& root) {
  const std::vector<int> with_memory =
      parse_list(line_after(root + "/sys/devices/system/node/has_memory", ""));
  const std::vector<int> allowed =
      parse_list(line_after(root + "/proc/self/status", "Mems_allowed_list:\t"));
  std::vector<int> nodes;
  std::set_intersection(with_memory.begin(), with_memory.end(), allowed.begin(), allowed.end(),
                        std::back_inserter(nodes));
  return nodes;
}

Result<MemorySpread> spread_memory(std::span<const int> nodes) {
  if (nodes.size() < 2) return MemorySpread::kOneNode;
  const auto refused = [] {
    return Error{ErrorCode::kUnavailable, "memory cannot be spread over the machine's nodes: " +
                                              std::string(std::strerror(errno))};
  };
  const std::optional<int> policy = memory_policy();
  if (!policy) return refused();
  if (*policy != MPOL_DEFAULT) return MemorySpread::kChosen;
  std::vector<unsigned long> mask(kNodesMax / kBitsPerWord);
  for (const int node : nodes) {
    const auto bit = static_cast<size_t>(node);
    mask[bit / kBitsPerWord] |= 1UL << (bit % kBitsPerWord);
  }
  // The kernel looks at one bit less than it is told.
  const unsigned long bits = kNodesMax + 1;
  if (::syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask.data(), bits) != 0) return refused();
  return MemorySpread::kSpread;
}

bool has_memory_policy() {
  return memory_policy().value_or(MPOL_DEFAULT) != MPOL_DEFAULT;
}

}  // namespace realm
