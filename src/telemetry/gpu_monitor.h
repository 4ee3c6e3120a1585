// What the driver says of the machine's NVIDIA GPUs while they work: memory, how busy they are. By
// NVML, the driver's own library, which is loaded when it is there: nothing needs it to be.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace realm {

struct GpuState {
  int index = 0;
  std::string name, uuid;
  uint64_t memory_total_bytes = 0, memory_used_bytes = 0;  // by all programs
  // Shares of the last sample period (a sixth of a second to a second) in which a kernel ran, and
  // in which memory was read or written; below 0 where the driver does not say.
  double busy = -1, memory_busy = -1;
};

class GpuMonitor {
 public:
  // Errors: kUnavailable where the library or a GPU is not there. `library` is a file's name or
  // path.
  static Result<std::unique_ptr<GpuMonitor>> open(const char* library = "libnvidia-ml.so.1");
  ~GpuMonitor();
  GpuMonitor(const GpuMonitor&) = delete;
  GpuMonitor& operator=(const GpuMonitor&) = delete;

  std::string driver_version() const;  // "580.159.04"; empty where it is not known
  // As of now; a GPU that does not answer is left out. From any thread.
  std::vector<GpuState> read() const;

 private:
  struct Library;
  explicit GpuMonitor(std::unique_ptr<Library> library);
  std::unique_ptr<Library> library_;
};

}  // namespace realm
