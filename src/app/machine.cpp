#include "app/machine.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "app/bandwidth.h"
#include "base/numa.h"
#include "base/thread_pool.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

// Files of /proc and /sys say their size is 0, so they are read to their end. Empty where the file
// cannot be read.
std::string read(const fs::path& path) {
  constexpr size_t kMaxBytes = size_t{1} << 20;
  std::ifstream in(path, std::ios::binary);
  std::string text;
  char piece[4096];
  while (in && text.size() < kMaxBytes) {
    in.read(piece, sizeof piece);
    text.append(piece, static_cast<size_t>(in.gcount()));
  }
  return text;
}

// The rest of the first line that starts with `key`, without a colon and blanks.
std::string field(const std::string& text, const std::string& key) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (text.compare(begin, key.size(), key) == 0) {
      const size_t value = text.find_first_not_of(" \t:", begin + key.size());
      return value < end ? text.substr(value, end - value) : "";
    }
    begin = end + 1;
  }
  return "";
}

uint64_t kib_field(const std::string& text, const std::string& key) {
  return std::strtoull(field(text, key).c_str(), nullptr, 10) << 10;
}

// A control group's limit in bytes; 0 for "max" and for numbers that mean "no limit".
uint64_t parse_limit(const std::string& text) {
  const uint64_t value = std::strtoull(text.c_str(), nullptr, 10);
  return value < uint64_t{1} << 60 ? value : 0;
}

// The smallest limit from the process's own group up to the root.
uint64_t limit_along(const fs::path& mount, std::string group, const char* file) {
  uint64_t limit = 0;
  for (;;) {
    const uint64_t here = parse_limit(read(mount.string() + group + "/" + file));
    if (here != 0) limit = limit == 0 ? here : std::min(limit, here);
    if (group.empty()) return limit;
    group.resize(group.find_last_of('/'));
  }
}

uint64_t memory_limit(const std::string& root) {
  const std::string groups = read(root + "/proc/self/cgroup");
  uint64_t limit = 0;
  for (size_t begin = 0; begin < groups.size();) {
    const size_t end = std::min(groups.find('\n', begin), groups.size());
    const std::string line = groups.substr(begin, end - begin);
    begin = end + 1;
    const size_t path = line.find(":/");
    if (path == std::string::npos) continue;
    std::string group = line.substr(path + 1);
    if (group == "/") group.clear();
    uint64_t here = 0;
    if (line.starts_with("0::")) {
      here = limit_along(root + "/sys/fs/cgroup", group, "memory.max");
    } else if (line.find(":memory:") != std::string::npos) {
      here = limit_along(root + "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
    }
    if (here != 0) limit = limit == 0 ? here : std::min(limit, here);
  }
  return limit;
}

// "always [madvise] never" -> "madvise"
std::string chosen_word(const std::string& text) {
  const size_t open = text.find('['), close = text.find(']');
  return open < close && close != std::string::npos ? text.substr(open + 1, close - open - 1) : "";
}

std::vector<std::string> find_gpus(const std::string& root) {
  std::vector<std::string> gpus;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root + "/proc/driver/nvidia/gpus", error)) {
    const std::string model = field(read(entry.path() / "information"), "Model");
    gpus.push_back(model.empty() ? "an NVIDIA GPU" : model);
  }
  std::sort(gpus.begin(), gpus.end());
  if (gpus.empty() && fs::exists(root + "/dev/nvidiactl", error))
    gpus.emplace_back("an NVIDIA GPU");
  if (fs::exists(root + "/dev/kfd", error)) gpus.emplace_back("an AMD GPU");
  if (gpus.empty() && root.empty()) {
    // A driver without a device that this process may see (a container without --gpus).
    if (void* library = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL)) {
      ::dlclose(library);
      gpus.emplace_back("NVIDIA's driver library, but no device");
    }
  }
  return gpus;
}

}  // namespace

Machine examine_machine(const std::string& root) {
  Machine machine;
  machine.cpu_model = field(read(root + "/proc/cpuinfo"), "model name");
  machine.cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  machine.usable_cores = usable_cores();
  machine.cache_bytes = last_level_cache_bytes();
  const std::string load = read(root + "/proc/loadavg");
  machine.load = load.empty() ? -1 : std::strtod(load.c_str(), nullptr);
  const std::string memory = read(root + "/proc/meminfo");
  machine.memory_bytes = kib_field(memory, "MemTotal");
  machine.memory_available_bytes = kib_field(memory, "MemAvailable");
  machine.memory_limit_bytes = memory_limit(root);
  machine.memory_nodes = static_cast<int>(memory_nodes(root).size());
  machine.memory_spread = has_memory_policy();
  machine.huge_pages = chosen_word(read(root + "/sys/kernel/mm/transparent_hugepage/enabled"));
  machine.gpus = find_gpus(root);
  return machine;
}

}  // namespace realm
