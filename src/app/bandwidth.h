// What this machine's memory gives when it is only read: the ceiling of decoding, which bench and
// doctor measure anew, for it depends on the machine, its neighbours and the number of threads.
#pragma once

#include <cstddef>

#include "backends/cpu/isa.h"
#include "base/result.h"
#include "base/thread_pool.h"

namespace realm {

struct Bandwidth {
  double gb_per_s = 0;    // 10^9 bytes a second, the best of several passes
  size_t bytes_read = 0;  // by each pass
  int threads = 0;
};

// Reads, with every thread of the pool, a buffer of four times the last-level cache (256 MB to
// 1 GB) several times, for about a third of a second. Error kExhausted where there is no memory
// for it.
Result<Bandwidth> measure_read_bandwidth(ThreadPool& pool);

// Billions of integer operations a second that the pool's threads reach together on an instruction
// set with nothing to read (backends/cpu/peak.h), in about a tenth of a second; 0 for the scalar
// reference.
double measure_integer_peak(ThreadPool& pool, cpu::Isa isa);

// Of the largest cache of this machine; 32 MB where it does not say.
size_t last_level_cache_bytes();

}  // namespace realm
