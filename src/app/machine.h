// What the machine offers a model: processor, memory and its limits, GPUs. Read from /proc and
// /sys; `realm doctor` reports it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace realm {

struct Machine {
  std::string cpu_model;  // empty where the system does not say
  int cores = 0;          // of the machine
  int usable_cores = 0;   // of this process: affinity and cgroup quota
  double load = 0;        // average over the last minute, -1 where unknown
  uint64_t cache_bytes = 0;

  uint64_t memory_bytes = 0, memory_available_bytes = 0;
  uint64_t memory_limit_bytes = 0;  // of the control group; 0: none
  int memory_nodes = 0;             // whose memory this process may use; 0 where unknown
  bool memory_spread = false;       // over them by turns, or as whoever started the program chose
  std::string huge_pages;           // always, madvise, never; empty where unknown

  std::vector<std::string> gpus;  // what is there, in words
};

// `root` is prepended to every path; tests give a folder of their own.
Machine examine_machine(const std::string& root = {});

}  // namespace realm
