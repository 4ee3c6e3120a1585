#include "telemetry/gpu_monitor.h"

#include <dlfcn.h>

namespace realm {
namespace {

// The part of NVML's stable interface that is used (nvml.h of the driver; results are 0 where they
// are good).
using Device = void*;
struct NvmlMemory {
  unsigned long long total, free, used;
};
struct NvmlUtilization {
  unsigned int gpu, memory;  // percent
};

}  // namespace

struct GpuMonitor::Library {
  void* handle = nullptr;
  bool is_started = false;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*driver_version)(char*, unsigned) = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*by_index)(unsigned, Device*) = nullptr;
  int (*name)(Device, char*, unsigned) = nullptr;
  int (*uuid)(Device, char*, unsigned) = nullptr;
  int (*memory)(Device, NvmlMemory*) = nullptr;
  int (*utilization)(Device, NvmlUtilization*) = nullptr;

  ~Library() {
    if (is_started) shutdown();
    if (handle != nullptr) ::dlclose(handle);
  }

  template <typename Function>
  bool find(const char* symbol, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(handle, symbol));
    return function != nullptr;
  }

  bool find_all() {
    return find("nvmlInit_v2", init) && find("nvmlShutdown", shutdown) &&
           find("nvmlSystemGetDriverVersion", driver_version) &&
           find("nvmlDeviceGetCount_v2", count) &&
           find("nvmlDeviceGetHandleByIndex_v2", by_index) && find("nvmlDeviceGetName", name) &&
           find("nvmlDeviceGetUUID", uuid) && find("nvmlDeviceGetMemoryInfo", memory) &&
           find("nvmlDeviceGetUtilizationRates", utilization);
  }
};

GpuMonitor::GpuMonitor(std::unique_ptr<Library> library) : library_(std::move(library)) {}
GpuMonitor::~GpuMonitor() = default;

Result<std::unique_ptr<GpuMonitor>> GpuMonitor::open(const char* library) {
  auto found = std::make_unique<Library>();
  found->handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (found->handle == nullptr || !found->find_all()) {
    return Error{ErrorCode::kUnavailable,
                 std::string("no NVIDIA driver: ") + library + " is not there or lacks a function"};
  }
  found->is_started = found->init() == 0;
  if (!found->is_started) {
    return Error{ErrorCode::kUnavailable, "the NVIDIA driver does not answer"};
  }
  unsigned count = 0;
  if (found->count(&count) != 0 || count == 0) {
    return Error{ErrorCode::kUnavailable, "no NVIDIA GPU is visible"};
  }
  return std::unique_ptr<GpuMonitor>(new GpuMonitor(std::move(found)));
}

std::string GpuMonitor::driver_version() const {
  char text[96] = {};
  return library_->driver_version(text, sizeof text - 1) == 0 ? text : "";
}

std::vector<GpuState> GpuMonitor::read() const {
  std::vector<GpuState> states;
  unsigned count = 0;
  if (library_->count(&count) != 0) return states;
  for (unsigned i = 0; i < count; ++i) {
    Device device = nullptr;
    NvmlMemory memory{};
    if (library_->by_index(i, &device) != 0 || library_->memory(device, &memory) != 0) continue;
    GpuState& state = states.emplace_back();
    state.index = static_cast<int>(i);
    char text[96] = {};
    if (library_->name(device, text, sizeof text - 1) == 0) state.name = text;
    if (library_->uuid(device, text, sizeof text - 1) == 0) state.uuid = text;
    state.memory_total_bytes = memory.total;
    state.memory_used_bytes = memory.used;
    NvmlUtilization utilization{};
    if (library_->utilization(device, &utilization) == 0) {
      state.busy = utilization.gpu / 100.0;
      state.memory_busy = utilization.memory / 100.0;
    }
  }
  return states;
}

}  // namespace realm
