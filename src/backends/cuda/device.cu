// What a device is, and which of this build's code it can run.
#include <array>

#include "backends/cuda/context.cuh"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/features.cuh"

namespace realm::cuda {
namespace {

__global__ void say_features(int* has_wgmma) {
  *has_wgmma = REALM_WGMMA;
}

std::string capability(int major, int minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

// "8.0, 9.0": what the build was compiled for.
std::string compiled_for() {
  std::string text;
  for (const int arch : std::array{__CUDA_ARCH_LIST__}) {
    text += (text.empty() ? "" : ", ") + capability(arch / 100, arch % 100 / 10);
  }
  return text;
}

}  // namespace

Result<DeviceInfo> probe_device(int device) {
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted == cudaErrorInsufficientDriver) {
    return Error{ErrorCode::kUnavailable,
                 "no NVIDIA driver, or one older than CUDA 13 (580) is installed"};
  }
  if (counted == cudaErrorNoDevice || (counted == cudaSuccess && count == 0)) {
    return Error{ErrorCode::kUnavailable, "no NVIDIA GPU is visible"};
  }
  TRY(check(counted, "looking for devices"));
  if (device < 0 || device >= count) {
    return Error{ErrorCode::kInvalidArgument,
                 "GPU " + std::to_string(device) + " is not in 0.." + std::to_string(count - 1)};
  }
  cudaDeviceProp properties{};
  TRY(check(cudaGetDeviceProperties(&properties, device), "reading properties"));
  DeviceInfo info{.name = properties.name,
                  .compute_major = properties.major,
                  .compute_minor = properties.minor,
                  .num_sms = properties.multiProcessorCount,
                  .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem),
                  .memory_free_bytes = 0,
                  .l2_bytes = properties.l2CacheSize,
                  .driver_version = 0};
  const std::string is_of =
      info.name + " has compute capability " + capability(info.compute_major, info.compute_minor);
  if (info.compute_major < 8) {
    return Error{ErrorCode::kUnavailable, is_of + "; 8.0 (Ampere) or newer is needed"};
  }
  TRY(check(cudaDriverGetVersion(&info.driver_version), "the driver's version"));
  TRY(check(cudaSetDevice(device), "choosing the device"));
  cudaFuncAttributes loaded{};
  if (cudaFuncGetAttributes(&loaded, say_features) != cudaSuccess) {
    cudaGetLastError();
    return Error{ErrorCode::kUnavailable,
                 is_of + "; this build has code for " + compiled_for() + " only"};
  }
  size_t free_bytes = 0, total = 0;
  TRY(check(cudaMemGetInfo(&free_bytes, &total), "asking for free memory"));
  info.memory_free_bytes = static_cast<int64_t>(free_bytes);
  return info;
}

Status Context::learn_device(const DeviceInfo& info, int device) {
  num_sms = info.num_sms;
  TRY(check(cudaDeviceGetAttribute(&shared_max, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
            "reading properties"));
  TRY(check(
      cudaDeviceGetAttribute(&shared_per_sm, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device),
      "reading properties"));
  int* said = nullptr;
  TRY(check(cudaMallocHost(&said, sizeof(int)), "pinned memory"));
  say_features<<<1, 1, 0, stream>>>(said);
  const cudaError_t ran = cudaStreamSynchronize(stream);
  has_wgmma = *said != 0;
  cudaFreeHost(said);
  return check(ran, "asking for the code's features");
}

}  // namespace realm::cuda
