#include "app/bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "backends/cpu/peak.h"

namespace realm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPieceBytes = size_t{2} << 20;
constexpr auto kTime = std::chrono::milliseconds(300);
constexpr int kMinPasses = 3;

// Wide enough for the compiler to use the registers it has, whatever they are.
using Lanes = uint64_t __attribute__((vector_size(64), may_alias));

// Four independent sums, so that no addition waits for another. The sum is returned, or the
// compiler would skip the reading.
uint64_t sum_of(const std::byte* data, size_t bytes) {
  const auto* lanes = reinterpret_cast<const Lanes*>(data);
  Lanes sums[4] = {};
  for (size_t i = 0; i + 4 <= bytes / sizeof(Lanes); i += 4) {
    for (size_t j = 0; j < 4; ++j) sums[j] += lanes[i + j];
  }
  const Lanes total = sums[0] + sums[1] + sums[2] + sums[3];
  uint64_t sum = 0;
  for (size_t j = 0; j < sizeof(Lanes) / sizeof(uint64_t); ++j) sum += total[j];
  return sum;
}

}  // namespace

size_t last_level_cache_bytes() {
  size_t largest = 0;
  for (int index = 0; index < 8; ++index) {
    const std::string path =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size";
    std::FILE* file = std::fopen(path.c_str(), "r");
    if (file == nullptr) break;
    unsigned long size = 0;
    char unit = 0;
    if (std::fscanf(file, "%lu%c", &size, &unit) == 2) {
      const int shift = unit == 'M' ? 20 : unit == 'K' ? 10 : 0;
      largest = std::max(largest, static_cast<size_t>(size) << shift);
    }
    std::fclose(file);
  }
  return largest > 0 ? largest : size_t{32} << 20;
}

Result<Bandwidth> measure_read_bandwidth(ThreadPool& pool) {
  const size_t wanted =
      std::clamp(4 * last_level_cache_bytes(), size_t{256} << 20, size_t{1} << 30);
  const size_t bytes = wanted / kPieceBytes * kPieceBytes;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Error{ErrorCode::kExhausted,
                 "no " + std::to_string(bytes >> 20) + " MB of memory to measure bandwidth with"};
  }
  const auto unmap = [bytes](void* p) { ::munmap(p, bytes); };
  const std::unique_ptr<void, decltype(unmap)> owner(memory, unmap);
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  auto* data = static_cast<std::byte*>(memory);
  const auto pieces = static_cast<int64_t>(bytes / kPieceBytes);
  // Written first: pages that were never written all read from the same page of zeros.
  pool.parallel_for(pieces, [&](int64_t piece, int) {
    std::fill_n(data + static_cast<size_t>(piece) * kPieceBytes, kPieceBytes, std::byte{1});
  });
  std::atomic<uint64_t> sink = 0;
  Bandwidth result{.gb_per_s = 0, .bytes_read = bytes, .threads = pool.num_threads()};
  const auto start = Clock::now();
  for (int pass = 0; pass < kMinPasses || Clock::now() - start < kTime; ++pass) {
    const auto pass_start = Clock::now();
    pool.parallel_for(pieces, [&](int64_t piece, int) {
      sink.fetch_add(sum_of(data + static_cast<size_t>(piece) * kPieceBytes, kPieceBytes),
                     std::memory_order_relaxed);
    });
    const double seconds = std::chrono::duration<double>(Clock::now() - pass_start).count();
    result.gb_per_s = std::max(result.gb_per_s, static_cast<double>(bytes) / seconds / 1e9);
  }
  return result;
}

double measure_integer_peak(ThreadPool& pool, cpu::Isa isa) {
  constexpr int64_t kRounds = 20000;
  constexpr int kPasses = 20;
  const auto pieces = static_cast<int64_t>(pool.num_threads());
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::atomic<double> operations = 0;
    const auto start = Clock::now();
    pool.parallel_for(pieces,
                      [&](int64_t, int) { operations += cpu::run_peak_loop(isa, kRounds); });
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, operations.load() / seconds / 1e9);
  }
  return best;
}

}  // namespace realm
