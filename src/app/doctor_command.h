// `realm doctor`: what this machine and this program offer, what is wrong, and what to do about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/bandwidth.h"
#include "app/machine.h"
#include "base/result.h"

namespace realm {

struct Finding {
  std::string what;  // is wrong
  std::string advice;
};

struct SettingInForce {
  std::string name, value, source;
};

// The GPU that models run on.
struct GpuReport {
  std::string name;
  std::string compute_capability;  // "9.0"
  std::string driver;              // "580.159.04", with the CUDA version it serves; may be empty
  int64_t memory_bytes = 0, memory_free_bytes = 0;
  double read_gb_per_s = 0, bf16_tflops = 0;  // measured; 0: could not be

  std::string text() const;
};

struct DoctorReport {
  std::string version;
  Machine machine;
  std::vector<std::string> instruction_sets;  // that this program has kernels for and runs here
  Bandwidth bandwidth;
  std::optional<GpuReport> gpu;          // what models run on
  std::string gpu_problem;               // why not, where the machine has one
  std::string embedded_model;            // "llama Q8_0 28.3M, 30.4 MB"; empty: it cannot be used
  std::vector<SettingInForce> settings;  // not at their default
  std::vector<Finding> findings;

  std::string text() const;
  std::string json() const;
};

// Measures, reads and judges. A machine with faults is a report, not an error; what makes a fault
// impossible to look for is one.
Result<DoctorReport> examine(std::vector<SettingInForce> settings);

// The judgement alone: findings from the rest of the report.
std::vector<Finding> judge(const DoctorReport& report);

}  // namespace realm
